// SPDX-License-Identifier: Apache-2.0
/* Shapes that members of operations refer to (the names are the service model's), and how a table
 * writes one down. */
#ifndef API_SHAPES_H
#define API_SHAPES_H

#include "api/op.h"

extern const struct api_shape shape_AmiId, shape_AppDescription, shape_AppId,
    shape_AppIdWithValidation, shape_AppIds, shape_AppLaunchConfigurationStatus,
    shape_AppLaunchStatus, shape_AppLaunchStatusMessage, shape_AppName,
    shape_AppReplicationConfigurationStatus, shape_AppReplicationStatus,
    shape_AppReplicationStatusMessage, shape_AppStatus, shape_AppStatusMessage, shape_AppSummary,
    shape_AppValidationConfiguration, shape_AppValidationConfigurations, shape_AppValidationOutput,
    shape_AppValidationStrategy, shape_Apps, shape_AssociatePublicIpAddress, shape_AutoLaunch,
    shape_BucketName, shape_ClientToken, shape_Command, shape_Connector, shape_ConnectorCapability,
    shape_ConnectorCapabilityList, shape_ConnectorId, shape_ConnectorList, shape_ConnectorStatus,
    shape_ConnectorVersion, shape_CreateAppRequest, shape_CreateAppResponse,
    shape_CreateReplicationJobRequest, shape_CreateReplicationJobResponse,
    shape_DeleteAppLaunchConfigurationRequest, shape_DeleteAppLaunchConfigurationResponse,
    shape_DeleteAppReplicationConfigurationRequest, shape_DeleteAppReplicationConfigurationResponse,
    shape_DeleteAppRequest, shape_DeleteAppResponse, shape_DeleteAppValidationConfigurationRequest,
    shape_DeleteAppValidationConfigurationResponse, shape_DeleteReplicationJobRequest,
    shape_DeleteReplicationJobResponse, shape_DeleteServerCatalogRequest,
    shape_DeleteServerCatalogResponse, shape_Description, shape_DisassociateConnectorRequest,
    shape_DisassociateConnectorResponse, shape_EC2KeyName, shape_Encrypted, shape_ErrorMessage,
    shape_ExecutionTimeoutSeconds, shape_ForceStopAppReplication, shape_ForceTerminateApp,
    shape_Frequency, shape_GenerateChangeSetRequest, shape_GenerateChangeSetResponse,
    shape_GenerateTemplateRequest, shape_GenerateTemplateResponse,
    shape_GetAppLaunchConfigurationRequest, shape_GetAppLaunchConfigurationResponse,
    shape_GetAppReplicationConfigurationRequest, shape_GetAppReplicationConfigurationResponse,
    shape_GetAppRequest, shape_GetAppResponse, shape_GetAppValidationConfigurationRequest,
    shape_GetAppValidationConfigurationResponse, shape_GetAppValidationOutputRequest,
    shape_GetAppValidationOutputResponse, shape_GetConnectorsRequest, shape_GetConnectorsResponse,
    shape_GetReplicationJobsRequest, shape_GetReplicationJobsResponse,
    shape_GetReplicationRunsRequest, shape_GetReplicationRunsResponse, shape_GetServersRequest,
    shape_GetServersResponse, shape_ImportAppCatalogRequest, shape_ImportAppCatalogResponse,
    shape_ImportServerCatalogRequest, shape_ImportServerCatalogResponse, shape_ImportedAppId,
    shape_InstanceId, shape_InstanceType, shape_IpAddress, shape_KmsKeyId, shape_LaunchAppRequest,
    shape_LaunchAppResponse, shape_LaunchDetails, shape_LaunchOrder, shape_LicenseType,
    shape_ListAppsRequest, shape_ListAppsResponse, shape_LogicalId, shape_MacAddress,
    shape_MaxResults, shape_NextToken, shape_NonEmptyStringWithMaxLen255, shape_NotificationContext,
    shape_NotifyAppValidationOutputRequest, shape_NotifyAppValidationOutputResponse,
    shape_NumberOfRecentAmisToKeep, shape_OutputFormat, shape_PutAppLaunchConfigurationRequest,
    shape_PutAppLaunchConfigurationResponse, shape_PutAppReplicationConfigurationRequest,
    shape_PutAppReplicationConfigurationResponse, shape_PutAppValidationConfigurationRequest,
    shape_PutAppValidationConfigurationResponse, shape_ReplicationJob, shape_ReplicationJobId,
    shape_ReplicationJobList, shape_ReplicationJobState, shape_ReplicationJobStatusMessage,
    shape_ReplicationJobTerminated, shape_ReplicationRun, shape_ReplicationRunId,
    shape_ReplicationRunList, shape_ReplicationRunStage, shape_ReplicationRunStageDetails,
    shape_ReplicationRunStageProgress, shape_ReplicationRunState, shape_ReplicationRunStatusMessage,
    shape_ReplicationRunType, shape_RoleName, shape_RunOnce, shape_S3BucketName, shape_S3KeyName,
    shape_S3Location, shape_SSMOutput, shape_SSMValidationParameters, shape_ScriptType,
    shape_SecurityGroup, shape_Server, shape_ServerCatalogStatus, shape_ServerGroup,
    shape_ServerGroupId, shape_ServerGroupLaunchConfiguration,
    shape_ServerGroupLaunchConfigurations, shape_ServerGroupName,
    shape_ServerGroupReplicationConfiguration, shape_ServerGroupReplicationConfigurations,
    shape_ServerGroupValidationConfiguration, shape_ServerGroupValidationConfigurations,
    shape_ServerGroups, shape_ServerId, shape_ServerLaunchConfiguration,
    shape_ServerLaunchConfigurations, shape_ServerList, shape_ServerReplicationConfiguration,
    shape_ServerReplicationConfigurations, shape_ServerReplicationParameters, shape_ServerType,
    shape_ServerValidationConfiguration, shape_ServerValidationConfigurations,
    shape_ServerValidationOutput, shape_ServerValidationStrategy, shape_Source, shape_StackId,
    shape_StackName, shape_StartAppReplicationRequest, shape_StartAppReplicationResponse,
    shape_StartOnDemandAppReplicationRequest, shape_StartOnDemandAppReplicationResponse,
    shape_StartOnDemandReplicationRunRequest, shape_StartOnDemandReplicationRunResponse,
    shape_StopAppReplicationRequest, shape_StopAppReplicationResponse, shape_Subnet, shape_Tag,
    shape_TagKey, shape_TagValue, shape_Tags, shape_TerminateAppRequest, shape_TerminateAppResponse,
    shape_Timestamp, shape_TotalServerGroups, shape_TotalServers, shape_UpdateAppRequest,
    shape_UpdateAppResponse, shape_UpdateReplicationJobRequest, shape_UpdateReplicationJobResponse,
    shape_UserData, shape_UserDataValidationParameters, shape_VPC, shape_ValidationId,
    shape_ValidationOutput, shape_ValidationOutputList, shape_ValidationStatus,
    shape_ValidationStatusMessage, shape_VmId, shape_VmManagerId, shape_VmManagerName,
    shape_VmManagerType, shape_VmName, shape_VmPath, shape_VmServer, shape_VmServerAddress,
    shape_VmServerAddressList;

#define PLAIN(shape_name, shape_type)                                                              \
	const struct api_shape shape_##shape_name = {.name = #shape_name, .type = shape_type}
#define ENUM(shape_name, ...)                                                                      \
	const struct api_shape shape_##shape_name = {                                              \
	    .name = #shape_name,                                                                   \
	    .type = API_STRING,                                                                    \
	    .values = (const char *const[]){__VA_ARGS__, NULL}}
#define LIST(shape_name, of)                                                                       \
	const struct api_shape shape_##shape_name = {                                              \
	    .name = #shape_name, .type = API_LIST, .item = &shape_##of}
#define STRUCTURE(shape_name, ...)                                                                 \
	const struct api_shape shape_##shape_name = {                                              \
	    .name = #shape_name,                                                                   \
	    .type = API_STRUCTURE,                                                                 \
	    .members = (const struct api_member[]){__VA_ARGS__, {0}}}
#define MEMBER(member_name, of)                                                                    \
	{                                                                                          \
		.name = #member_name, .shape = &shape_##of                                         \
	}
#define REQUIRED(member_name, of)                                                                  \
	{                                                                                          \
		.name = #member_name, .shape = &shape_##of, .required = true                       \
	}

#endif
