// SPDX-License-Identifier: Apache-2.0
/* What each operation of the service model 2016-10-24 takes and returns; see api/ops_sms.c. */
#include "api/shapes.h"

static const struct api_member no_members[] = {{0}};

STRUCTURE(CreateAppRequest, MEMBER(name, AppName), MEMBER(description, AppDescription),
	  MEMBER(roleName, RoleName), MEMBER(clientToken, ClientToken),
	  MEMBER(serverGroups, ServerGroups), MEMBER(tags, Tags));

STRUCTURE(CreateAppResponse, MEMBER(appSummary, AppSummary), MEMBER(serverGroups, ServerGroups),
	  MEMBER(tags, Tags));

STRUCTURE(CreateReplicationJobRequest, REQUIRED(serverId, ServerId),
	  REQUIRED(seedReplicationTime, Timestamp), MEMBER(frequency, Frequency),
	  MEMBER(runOnce, RunOnce), MEMBER(licenseType, LicenseType), MEMBER(roleName, RoleName),
	  MEMBER(description, Description),
	  MEMBER(numberOfRecentAmisToKeep, NumberOfRecentAmisToKeep), MEMBER(encrypted, Encrypted),
	  MEMBER(kmsKeyId, KmsKeyId));

STRUCTURE(CreateReplicationJobResponse, MEMBER(replicationJobId, ReplicationJobId));

STRUCTURE(DeleteAppRequest, MEMBER(appId, AppId),
	  MEMBER(forceStopAppReplication, ForceStopAppReplication),
	  MEMBER(forceTerminateApp, ForceTerminateApp));

const struct api_shape shape_DeleteAppResponse = {
    .name = "DeleteAppResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(DeleteAppLaunchConfigurationRequest, MEMBER(appId, AppId));

const struct api_shape shape_DeleteAppLaunchConfigurationResponse = {
    .name = "DeleteAppLaunchConfigurationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(DeleteAppReplicationConfigurationRequest, MEMBER(appId, AppId));

const struct api_shape shape_DeleteAppReplicationConfigurationResponse = {
    .name = "DeleteAppReplicationConfigurationResponse",
    .type = API_STRUCTURE,
    .members = no_members};

STRUCTURE(DeleteAppValidationConfigurationRequest, REQUIRED(appId, AppIdWithValidation));

const struct api_shape shape_DeleteAppValidationConfigurationResponse = {
    .name = "DeleteAppValidationConfigurationResponse",
    .type = API_STRUCTURE,
    .members = no_members};

STRUCTURE(DeleteReplicationJobRequest, REQUIRED(replicationJobId, ReplicationJobId));

const struct api_shape shape_DeleteReplicationJobResponse = {
    .name = "DeleteReplicationJobResponse", .type = API_STRUCTURE, .members = no_members};

const struct api_shape shape_DeleteServerCatalogRequest = {
    .name = "DeleteServerCatalogRequest", .type = API_STRUCTURE, .members = no_members};

const struct api_shape shape_DeleteServerCatalogResponse = {
    .name = "DeleteServerCatalogResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(DisassociateConnectorRequest, REQUIRED(connectorId, ConnectorId));

const struct api_shape shape_DisassociateConnectorResponse = {
    .name = "DisassociateConnectorResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(GenerateChangeSetRequest, MEMBER(appId, AppId), MEMBER(changesetFormat, OutputFormat));

STRUCTURE(GenerateChangeSetResponse, MEMBER(s3Location, S3Location));

STRUCTURE(GenerateTemplateRequest, MEMBER(appId, AppId), MEMBER(templateFormat, OutputFormat));

STRUCTURE(GenerateTemplateResponse, MEMBER(s3Location, S3Location));

STRUCTURE(GetAppRequest, MEMBER(appId, AppId));

STRUCTURE(GetAppResponse, MEMBER(appSummary, AppSummary), MEMBER(serverGroups, ServerGroups),
	  MEMBER(tags, Tags));

STRUCTURE(GetAppLaunchConfigurationRequest, MEMBER(appId, AppId));

STRUCTURE(GetAppLaunchConfigurationResponse, MEMBER(appId, AppId), MEMBER(roleName, RoleName),
	  MEMBER(autoLaunch, AutoLaunch),
	  MEMBER(serverGroupLaunchConfigurations, ServerGroupLaunchConfigurations));

STRUCTURE(GetAppReplicationConfigurationRequest, MEMBER(appId, AppId));

STRUCTURE(GetAppReplicationConfigurationResponse,
	  MEMBER(serverGroupReplicationConfigurations, ServerGroupReplicationConfigurations));

STRUCTURE(GetAppValidationConfigurationRequest, REQUIRED(appId, AppIdWithValidation));

STRUCTURE(GetAppValidationConfigurationResponse,
	  MEMBER(appValidationConfigurations, AppValidationConfigurations),
	  MEMBER(serverGroupValidationConfigurations, ServerGroupValidationConfigurations));

STRUCTURE(GetAppValidationOutputRequest, REQUIRED(appId, AppIdWithValidation));

STRUCTURE(GetAppValidationOutputResponse, MEMBER(validationOutputList, ValidationOutputList));

STRUCTURE(GetConnectorsRequest, MEMBER(nextToken, NextToken), MEMBER(maxResults, MaxResults));

STRUCTURE(GetConnectorsResponse, MEMBER(connectorList, ConnectorList),
	  MEMBER(nextToken, NextToken));

STRUCTURE(GetReplicationJobsRequest, MEMBER(replicationJobId, ReplicationJobId),
	  MEMBER(nextToken, NextToken), MEMBER(maxResults, MaxResults));

STRUCTURE(GetReplicationJobsResponse, MEMBER(replicationJobList, ReplicationJobList),
	  MEMBER(nextToken, NextToken));

STRUCTURE(GetReplicationRunsRequest, REQUIRED(replicationJobId, ReplicationJobId),
	  MEMBER(nextToken, NextToken), MEMBER(maxResults, MaxResults));

STRUCTURE(GetReplicationRunsResponse, MEMBER(replicationJob, ReplicationJob),
	  MEMBER(replicationRunList, ReplicationRunList), MEMBER(nextToken, NextToken));

STRUCTURE(GetServersRequest, MEMBER(nextToken, NextToken), MEMBER(maxResults, MaxResults),
	  MEMBER(vmServerAddressList, VmServerAddressList));

STRUCTURE(GetServersResponse, MEMBER(lastModifiedOn, Timestamp),
	  MEMBER(serverCatalogStatus, ServerCatalogStatus), MEMBER(serverList, ServerList),
	  MEMBER(nextToken, NextToken));

STRUCTURE(ImportAppCatalogRequest, MEMBER(roleName, RoleName));

const struct api_shape shape_ImportAppCatalogResponse = {
    .name = "ImportAppCatalogResponse", .type = API_STRUCTURE, .members = no_members};

const struct api_shape shape_ImportServerCatalogRequest = {
    .name = "ImportServerCatalogRequest", .type = API_STRUCTURE, .members = no_members};

const struct api_shape shape_ImportServerCatalogResponse = {
    .name = "ImportServerCatalogResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(LaunchAppRequest, MEMBER(appId, AppId));

const struct api_shape shape_LaunchAppResponse = {
    .name = "LaunchAppResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(ListAppsRequest, MEMBER(appIds, AppIds), MEMBER(nextToken, NextToken),
	  MEMBER(maxResults, MaxResults));

STRUCTURE(ListAppsResponse, MEMBER(apps, Apps), MEMBER(nextToken, NextToken));

STRUCTURE(NotifyAppValidationOutputRequest, REQUIRED(appId, AppIdWithValidation),
	  MEMBER(notificationContext, NotificationContext));

const struct api_shape shape_NotifyAppValidationOutputResponse = {
    .name = "NotifyAppValidationOutputResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(PutAppLaunchConfigurationRequest, MEMBER(appId, AppId), MEMBER(roleName, RoleName),
	  MEMBER(autoLaunch, AutoLaunch),
	  MEMBER(serverGroupLaunchConfigurations, ServerGroupLaunchConfigurations));

const struct api_shape shape_PutAppLaunchConfigurationResponse = {
    .name = "PutAppLaunchConfigurationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(PutAppReplicationConfigurationRequest, MEMBER(appId, AppId),
	  MEMBER(serverGroupReplicationConfigurations, ServerGroupReplicationConfigurations));

const struct api_shape shape_PutAppReplicationConfigurationResponse = {
    .name = "PutAppReplicationConfigurationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(PutAppValidationConfigurationRequest, REQUIRED(appId, AppIdWithValidation),
	  MEMBER(appValidationConfigurations, AppValidationConfigurations),
	  MEMBER(serverGroupValidationConfigurations, ServerGroupValidationConfigurations));

const struct api_shape shape_PutAppValidationConfigurationResponse = {
    .name = "PutAppValidationConfigurationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(StartAppReplicationRequest, MEMBER(appId, AppId));

const struct api_shape shape_StartAppReplicationResponse = {
    .name = "StartAppReplicationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(StartOnDemandAppReplicationRequest, REQUIRED(appId, AppId),
	  MEMBER(description, Description));

const struct api_shape shape_StartOnDemandAppReplicationResponse = {
    .name = "StartOnDemandAppReplicationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(StartOnDemandReplicationRunRequest, REQUIRED(replicationJobId, ReplicationJobId),
	  MEMBER(description, Description));

STRUCTURE(StartOnDemandReplicationRunResponse, MEMBER(replicationRunId, ReplicationRunId));

STRUCTURE(StopAppReplicationRequest, MEMBER(appId, AppId));

const struct api_shape shape_StopAppReplicationResponse = {
    .name = "StopAppReplicationResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(TerminateAppRequest, MEMBER(appId, AppId));

const struct api_shape shape_TerminateAppResponse = {
    .name = "TerminateAppResponse", .type = API_STRUCTURE, .members = no_members};

STRUCTURE(UpdateAppRequest, MEMBER(appId, AppId), MEMBER(name, AppName),
	  MEMBER(description, AppDescription), MEMBER(roleName, RoleName),
	  MEMBER(serverGroups, ServerGroups), MEMBER(tags, Tags));

STRUCTURE(UpdateAppResponse, MEMBER(appSummary, AppSummary), MEMBER(serverGroups, ServerGroups),
	  MEMBER(tags, Tags));

STRUCTURE(UpdateReplicationJobRequest, REQUIRED(replicationJobId, ReplicationJobId),
	  MEMBER(frequency, Frequency), MEMBER(nextReplicationRunStartTime, Timestamp),
	  MEMBER(licenseType, LicenseType), MEMBER(roleName, RoleName),
	  MEMBER(description, Description),
	  MEMBER(numberOfRecentAmisToKeep, NumberOfRecentAmisToKeep), MEMBER(encrypted, Encrypted),
	  MEMBER(kmsKeyId, KmsKeyId));

const struct api_shape shape_UpdateReplicationJobResponse = {
    .name = "UpdateReplicationJobResponse", .type = API_STRUCTURE, .members = no_members};
