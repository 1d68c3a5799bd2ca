// SPDX-License-Identifier: Apache-2.0
/* The shapes of the service model 2016-10-24 that members refer to; see api/ops_sms.c. */
#include "api/shapes.h"

PLAIN(AmiId, API_STRING);
PLAIN(AppDescription, API_STRING);
PLAIN(AppId, API_STRING);
PLAIN(AppLaunchStatusMessage, API_STRING);
PLAIN(AppName, API_STRING);
PLAIN(AppReplicationStatusMessage, API_STRING);
PLAIN(AppStatusMessage, API_STRING);
PLAIN(BucketName, API_STRING);
PLAIN(ClientToken, API_STRING);
PLAIN(ConnectorId, API_STRING);
PLAIN(ConnectorVersion, API_STRING);
PLAIN(Description, API_STRING);
PLAIN(EC2KeyName, API_STRING);
PLAIN(ErrorMessage, API_STRING);
PLAIN(ImportedAppId, API_STRING);
PLAIN(InstanceType, API_STRING);
PLAIN(IpAddress, API_STRING);
PLAIN(KmsKeyId, API_STRING);
PLAIN(LogicalId, API_STRING);
PLAIN(MacAddress, API_STRING);
PLAIN(NextToken, API_STRING);
PLAIN(ReplicationJobId, API_STRING);
PLAIN(ReplicationJobStatusMessage, API_STRING);
PLAIN(ReplicationRunId, API_STRING);
PLAIN(ReplicationRunStage, API_STRING);
PLAIN(ReplicationRunStageProgress, API_STRING);
PLAIN(ReplicationRunStatusMessage, API_STRING);
PLAIN(RoleName, API_STRING);
PLAIN(SecurityGroup, API_STRING);
PLAIN(ServerGroupId, API_STRING);
PLAIN(ServerGroupName, API_STRING);
PLAIN(ServerId, API_STRING);
PLAIN(StackId, API_STRING);
PLAIN(StackName, API_STRING);
PLAIN(Subnet, API_STRING);
PLAIN(TagKey, API_STRING);
PLAIN(TagValue, API_STRING);
PLAIN(VPC, API_STRING);
PLAIN(VmId, API_STRING);
PLAIN(VmManagerId, API_STRING);
PLAIN(VmManagerName, API_STRING);
PLAIN(VmName, API_STRING);
PLAIN(VmPath, API_STRING);

PLAIN(Frequency, API_INTEGER);
PLAIN(LaunchOrder, API_INTEGER);
PLAIN(MaxResults, API_INTEGER);
PLAIN(NumberOfRecentAmisToKeep, API_INTEGER);
PLAIN(TotalServerGroups, API_INTEGER);
PLAIN(TotalServers, API_INTEGER);

PLAIN(AssociatePublicIpAddress, API_BOOLEAN);
PLAIN(AutoLaunch, API_BOOLEAN);
PLAIN(Encrypted, API_BOOLEAN);
PLAIN(ForceStopAppReplication, API_BOOLEAN);
PLAIN(ForceTerminateApp, API_BOOLEAN);
PLAIN(ReplicationJobTerminated, API_BOOLEAN);
PLAIN(RunOnce, API_BOOLEAN);

PLAIN(Timestamp, API_TIMESTAMP);

const struct api_shape shape_AppIdWithValidation = {
    .name = "AppIdWithValidation",
    .type = API_STRING,
    .pattern = "^app-[0-9a-f]{17}$",
};
const struct api_shape shape_Command = {
    .name = "Command",
    .type = API_STRING,
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 64000,
};
const struct api_shape shape_ExecutionTimeoutSeconds = {
    .name = "ExecutionTimeoutSeconds",
    .type = API_INTEGER,
    .has_min = true,
    .min = 60,
    .has_max = true,
    .max = 28800,
};
const struct api_shape shape_InstanceId = {
    .name = "InstanceId",
    .type = API_STRING,
    .pattern = "(^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$)",
};
const struct api_shape shape_NonEmptyStringWithMaxLen255 = {
    .name = "NonEmptyStringWithMaxLen255",
    .type = API_STRING,
    .pattern = "^[\\S]+$",
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 255,
};
const struct api_shape shape_S3BucketName = {
    .name = "S3BucketName",
    .type = API_STRING,
    .has_min = true,
    .min = 3,
    .has_max = true,
    .max = 63,
};
const struct api_shape shape_S3KeyName = {
    .name = "S3KeyName",
    .type = API_STRING,
    .has_max = true,
    .max = 1024,
};
const struct api_shape shape_ValidationId = {
    .name = "ValidationId",
    .type = API_STRING,
    .pattern = "^val-[0-9a-f]{17}$",
};
const struct api_shape shape_ValidationStatusMessage = {
    .name = "ValidationStatusMessage",
    .type = API_STRING,
    .has_max = true,
    .max = 2500,
};

ENUM(AppLaunchConfigurationStatus, "NOT_CONFIGURED", "CONFIGURED");
ENUM(AppLaunchStatus, "READY_FOR_CONFIGURATION", "CONFIGURATION_IN_PROGRESS",
     "CONFIGURATION_INVALID", "READY_FOR_LAUNCH", "VALIDATION_IN_PROGRESS", "LAUNCH_PENDING",
     "LAUNCH_IN_PROGRESS", "LAUNCHED", "PARTIALLY_LAUNCHED", "DELTA_LAUNCH_IN_PROGRESS",
     "DELTA_LAUNCH_FAILED", "LAUNCH_FAILED", "TERMINATE_IN_PROGRESS", "TERMINATE_FAILED",
     "TERMINATED");
ENUM(AppReplicationConfigurationStatus, "NOT_CONFIGURED", "CONFIGURED");
ENUM(AppReplicationStatus, "READY_FOR_CONFIGURATION", "CONFIGURATION_IN_PROGRESS",
     "CONFIGURATION_INVALID", "READY_FOR_REPLICATION", "VALIDATION_IN_PROGRESS",
     "REPLICATION_PENDING", "REPLICATION_IN_PROGRESS", "REPLICATED", "PARTIALLY_REPLICATED",
     "DELTA_REPLICATION_IN_PROGRESS", "DELTA_REPLICATED", "DELTA_REPLICATION_FAILED",
     "REPLICATION_FAILED", "REPLICATION_STOPPING", "REPLICATION_STOP_FAILED",
     "REPLICATION_STOPPED");
ENUM(AppStatus, "CREATING", "ACTIVE", "UPDATING", "DELETING", "DELETED", "DELETE_FAILED");
ENUM(AppValidationStrategy, "SSM");
ENUM(ConnectorCapability, "VSPHERE", "SCVMM", "HYPERV-MANAGER", "SNAPSHOT_BATCHING",
     "SMS_OPTIMIZED");
ENUM(ConnectorStatus, "HEALTHY", "UNHEALTHY");
ENUM(LicenseType, "AWS", "BYOL");
ENUM(OutputFormat, "JSON", "YAML");
ENUM(ReplicationJobState, "PENDING", "ACTIVE", "FAILED", "DELETING", "DELETED", "COMPLETED",
     "PAUSED_ON_FAILURE", "FAILING");
ENUM(ReplicationRunState, "PENDING", "MISSED", "ACTIVE", "FAILED", "COMPLETED", "DELETING",
     "DELETED");
ENUM(ReplicationRunType, "ON_DEMAND", "AUTOMATIC");
ENUM(ScriptType, "SHELL_SCRIPT", "POWERSHELL_SCRIPT");
ENUM(ServerCatalogStatus, "NOT_IMPORTED", "IMPORTING", "AVAILABLE", "DELETED", "EXPIRED");
ENUM(ServerType, "VIRTUAL_MACHINE");
ENUM(ServerValidationStrategy, "USERDATA");
ENUM(ValidationStatus, "READY_FOR_VALIDATION", "PENDING", "IN_PROGRESS", "SUCCEEDED", "FAILED");
ENUM(VmManagerType, "VSPHERE", "SCVMM", "HYPERV-MANAGER");

LIST(AppIds, AppId);
LIST(AppValidationConfigurations, AppValidationConfiguration);
LIST(Apps, AppSummary);
LIST(ConnectorCapabilityList, ConnectorCapability);
LIST(ConnectorList, Connector);
LIST(ReplicationJobList, ReplicationJob);
LIST(ReplicationRunList, ReplicationRun);
LIST(ServerGroupLaunchConfigurations, ServerGroupLaunchConfiguration);
LIST(ServerGroupReplicationConfigurations, ServerGroupReplicationConfiguration);
LIST(ServerGroupValidationConfigurations, ServerGroupValidationConfiguration);
LIST(ServerGroups, ServerGroup);
LIST(ServerLaunchConfigurations, ServerLaunchConfiguration);
LIST(ServerList, Server);
LIST(ServerReplicationConfigurations, ServerReplicationConfiguration);
LIST(ServerValidationConfigurations, ServerValidationConfiguration);
LIST(Tags, Tag);
LIST(ValidationOutputList, ValidationOutput);
LIST(VmServerAddressList, VmServerAddress);

STRUCTURE(AppSummary, MEMBER(appId, AppId), MEMBER(importedAppId, ImportedAppId),
	  MEMBER(name, AppName), MEMBER(description, AppDescription), MEMBER(status, AppStatus),
	  MEMBER(statusMessage, AppStatusMessage),
	  MEMBER(replicationConfigurationStatus, AppReplicationConfigurationStatus),
	  MEMBER(replicationStatus, AppReplicationStatus),
	  MEMBER(replicationStatusMessage, AppReplicationStatusMessage),
	  MEMBER(latestReplicationTime, Timestamp),
	  MEMBER(launchConfigurationStatus, AppLaunchConfigurationStatus),
	  MEMBER(launchStatus, AppLaunchStatus),
	  MEMBER(launchStatusMessage, AppLaunchStatusMessage), MEMBER(launchDetails, LaunchDetails),
	  MEMBER(creationTime, Timestamp), MEMBER(lastModified, Timestamp),
	  MEMBER(roleName, RoleName), MEMBER(totalServerGroups, TotalServerGroups),
	  MEMBER(totalServers, TotalServers));

STRUCTURE(AppValidationConfiguration, MEMBER(validationId, ValidationId),
	  MEMBER(name, NonEmptyStringWithMaxLen255),
	  MEMBER(appValidationStrategy, AppValidationStrategy),
	  MEMBER(ssmValidationParameters, SSMValidationParameters));

STRUCTURE(AppValidationOutput, MEMBER(ssmOutput, SSMOutput));

STRUCTURE(Connector, MEMBER(connectorId, ConnectorId), MEMBER(version, ConnectorVersion),
	  MEMBER(status, ConnectorStatus), MEMBER(capabilityList, ConnectorCapabilityList),
	  MEMBER(vmManagerName, VmManagerName), MEMBER(vmManagerType, VmManagerType),
	  MEMBER(vmManagerId, VmManagerId), MEMBER(ipAddress, IpAddress),
	  MEMBER(macAddress, MacAddress), MEMBER(associatedOn, Timestamp));

STRUCTURE(LaunchDetails, MEMBER(latestLaunchTime, Timestamp), MEMBER(stackName, StackName),
	  MEMBER(stackId, StackId));

STRUCTURE(NotificationContext, MEMBER(validationId, ValidationId), MEMBER(status, ValidationStatus),
	  MEMBER(statusMessage, ValidationStatusMessage));

STRUCTURE(ReplicationJob, MEMBER(replicationJobId, ReplicationJobId), MEMBER(serverId, ServerId),
	  MEMBER(serverType, ServerType), MEMBER(vmServer, VmServer),
	  MEMBER(seedReplicationTime, Timestamp), MEMBER(frequency, Frequency),
	  MEMBER(runOnce, RunOnce), MEMBER(nextReplicationRunStartTime, Timestamp),
	  MEMBER(licenseType, LicenseType), MEMBER(roleName, RoleName), MEMBER(latestAmiId, AmiId),
	  MEMBER(state, ReplicationJobState), MEMBER(statusMessage, ReplicationJobStatusMessage),
	  MEMBER(description, Description),
	  MEMBER(numberOfRecentAmisToKeep, NumberOfRecentAmisToKeep), MEMBER(encrypted, Encrypted),
	  MEMBER(kmsKeyId, KmsKeyId), MEMBER(replicationRunList, ReplicationRunList));

STRUCTURE(ReplicationRun, MEMBER(replicationRunId, ReplicationRunId),
	  MEMBER(state, ReplicationRunState), MEMBER(type, ReplicationRunType),
	  MEMBER(stageDetails, ReplicationRunStageDetails),
	  MEMBER(statusMessage, ReplicationRunStatusMessage), MEMBER(amiId, AmiId),
	  MEMBER(scheduledStartTime, Timestamp), MEMBER(completedTime, Timestamp),
	  MEMBER(description, Description), MEMBER(encrypted, Encrypted),
	  MEMBER(kmsKeyId, KmsKeyId));

STRUCTURE(ReplicationRunStageDetails, MEMBER(stage, ReplicationRunStage),
	  MEMBER(stageProgress, ReplicationRunStageProgress));

STRUCTURE(S3Location, MEMBER(bucket, S3BucketName), MEMBER(key, S3KeyName));

STRUCTURE(SSMOutput, MEMBER(s3Location, S3Location));

STRUCTURE(SSMValidationParameters, MEMBER(source, Source), MEMBER(instanceId, InstanceId),
	  MEMBER(scriptType, ScriptType), MEMBER(command, Command),
	  MEMBER(executionTimeoutSeconds, ExecutionTimeoutSeconds),
	  MEMBER(outputS3BucketName, BucketName));

STRUCTURE(Server, MEMBER(serverId, ServerId), MEMBER(serverType, ServerType),
	  MEMBER(vmServer, VmServer), MEMBER(replicationJobId, ReplicationJobId),
	  MEMBER(replicationJobTerminated, ReplicationJobTerminated));

STRUCTURE(ServerGroup, MEMBER(serverGroupId, ServerGroupId), MEMBER(name, ServerGroupName),
	  MEMBER(serverList, ServerList));

STRUCTURE(ServerGroupLaunchConfiguration, MEMBER(serverGroupId, ServerGroupId),
	  MEMBER(launchOrder, LaunchOrder),
	  MEMBER(serverLaunchConfigurations, ServerLaunchConfigurations));

STRUCTURE(ServerGroupReplicationConfiguration, MEMBER(serverGroupId, ServerGroupId),
	  MEMBER(serverReplicationConfigurations, ServerReplicationConfigurations));

STRUCTURE(ServerGroupValidationConfiguration, MEMBER(serverGroupId, ServerGroupId),
	  MEMBER(serverValidationConfigurations, ServerValidationConfigurations));

STRUCTURE(ServerLaunchConfiguration, MEMBER(server, Server), MEMBER(logicalId, LogicalId),
	  MEMBER(vpc, VPC), MEMBER(subnet, Subnet), MEMBER(securityGroup, SecurityGroup),
	  MEMBER(ec2KeyName, EC2KeyName), MEMBER(userData, UserData),
	  MEMBER(instanceType, InstanceType),
	  MEMBER(associatePublicIpAddress, AssociatePublicIpAddress),
	  MEMBER(iamInstanceProfileName, RoleName), MEMBER(configureScript, S3Location),
	  MEMBER(configureScriptType, ScriptType));

STRUCTURE(ServerReplicationConfiguration, MEMBER(server, Server),
	  MEMBER(serverReplicationParameters, ServerReplicationParameters));

STRUCTURE(ServerReplicationParameters, MEMBER(seedTime, Timestamp), MEMBER(frequency, Frequency),
	  MEMBER(runOnce, RunOnce), MEMBER(licenseType, LicenseType),
	  MEMBER(numberOfRecentAmisToKeep, NumberOfRecentAmisToKeep), MEMBER(encrypted, Encrypted),
	  MEMBER(kmsKeyId, KmsKeyId));

STRUCTURE(ServerValidationConfiguration, MEMBER(server, Server), MEMBER(validationId, ValidationId),
	  MEMBER(name, NonEmptyStringWithMaxLen255),
	  MEMBER(serverValidationStrategy, ServerValidationStrategy),
	  MEMBER(userDataValidationParameters, UserDataValidationParameters));

STRUCTURE(ServerValidationOutput, MEMBER(server, Server));

STRUCTURE(Source, MEMBER(s3Location, S3Location));

STRUCTURE(Tag, MEMBER(key, TagKey), MEMBER(value, TagValue));

STRUCTURE(UserData, MEMBER(s3Location, S3Location));

STRUCTURE(UserDataValidationParameters, MEMBER(source, Source), MEMBER(scriptType, ScriptType));

STRUCTURE(ValidationOutput, MEMBER(validationId, ValidationId),
	  MEMBER(name, NonEmptyStringWithMaxLen255), MEMBER(status, ValidationStatus),
	  MEMBER(statusMessage, ValidationStatusMessage), MEMBER(latestValidationTime, Timestamp),
	  MEMBER(appValidationOutput, AppValidationOutput),
	  MEMBER(serverValidationOutput, ServerValidationOutput));

STRUCTURE(VmServer, MEMBER(vmServerAddress, VmServerAddress), MEMBER(vmName, VmName),
	  MEMBER(vmManagerName, VmManagerName), MEMBER(vmManagerType, VmManagerType),
	  MEMBER(vmPath, VmPath));

STRUCTURE(VmServerAddress, MEMBER(vmManagerId, VmManagerId), MEMBER(vmId, VmId));
