// SPDX-License-Identifier: Apache-2.0
/*
 * The operations of the service model 2016-10-24, in its order. What they take and return is in
 * api/ops_sms_requests.c, the shapes of members in api/ops_sms_shapes.c. An operation without a
 * handler is answered with OperationNotPermittedException.
 */
#include "api/handlers.h"
#include "api/shapes.h"
#include "base/mem.h"

#define ERRORS(...)                                                                                \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

/* Short names for the lists of errors below. */
#define DRY_RUN		  "DryRunOperationException"
#define INTERNAL_ERROR	  "InternalError"
#define INVALID_PARAMETER "InvalidParameterException"
#define MISSING_PARAMETER "MissingRequiredParameterException"
#define NO_CONNECTORS	  "NoConnectorsAvailableException"
#define NOT_PERMITTED	  "OperationNotPermittedException"
#define JOB_EXISTS	  "ReplicationJobAlreadyExistsException"
#define JOB_NOT_FOUND	  "ReplicationJobNotFoundException"
#define RUN_LIMIT	  "ReplicationRunLimitExceededException"
#define CANNOT_REPLICATE  "ServerCannotBeReplicatedException"
#define UNAVAILABLE	  "TemporarilyUnavailableException"
#define UNAUTHORIZED	  "UnauthorizedOperationException"

static const struct api_op ops[] = {
    {
	.name = "CreateApp",
	.input = &shape_CreateAppRequest,
	.output = &shape_CreateAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Make an application: a named set of groups of servers.",
    },
    {
	.name = "CreateReplicationJob",
	.input = &shape_CreateReplicationJobRequest,
	.output = &shape_CreateReplicationJobResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, UNAUTHORIZED, NOT_PERMITTED,
			 CANNOT_REPLICATE, JOB_EXISTS, NO_CONNECTORS, INTERNAL_ERROR, UNAVAILABLE),
	.handler = handle_create_replication_job,
	.doc = "Make the schedule by which a server is copied; every run that succeeds makes an "
	       "image.",
    },
    {
	.name = "DeleteApp",
	.input = &shape_DeleteAppRequest,
	.output = &shape_DeleteAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Delete an application, on request with its replication jobs and launched stack.",
    },
    {
	.name = "DeleteAppLaunchConfiguration",
	.input = &shape_DeleteAppLaunchConfigurationRequest,
	.output = &shape_DeleteAppLaunchConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Remove the launch configuration of an application.",
    },
    {
	.name = "DeleteAppReplicationConfiguration",
	.input = &shape_DeleteAppReplicationConfigurationRequest,
	.output = &shape_DeleteAppReplicationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Remove the replication configuration of an application.",
    },
    {
	.name = "DeleteAppValidationConfiguration",
	.input = &shape_DeleteAppValidationConfigurationRequest,
	.output = &shape_DeleteAppValidationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Remove the validation configuration of an application.",
    },
    {
	.name = "DeleteReplicationJob",
	.input = &shape_DeleteReplicationJobRequest,
	.output = &shape_DeleteReplicationJobResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, UNAUTHORIZED, NOT_PERMITTED,
			 JOB_NOT_FOUND),
	.handler = handle_delete_replication_job,
	.doc = "Stop a replication job for good; the images it made stay.",
    },
    {
	.name = "DeleteServerCatalog",
	.input = &shape_DeleteServerCatalogRequest,
	.output = &shape_DeleteServerCatalogResponse,
	.errors = ERRORS(UNAUTHORIZED, NOT_PERMITTED, INVALID_PARAMETER, MISSING_PARAMETER),
	.handler = handle_delete_server_catalog,
	.doc = "Empty the catalog of servers; jobs go on.",
    },
    {
	.name = "DisassociateConnector",
	.input = &shape_DisassociateConnectorRequest,
	.output = &shape_DisassociateConnectorResponse,
	.errors = ERRORS(MISSING_PARAMETER, UNAUTHORIZED, NOT_PERMITTED, INVALID_PARAMETER),
	.handler = handle_disassociate_connector,
	.doc = "Deregister a connector; it serves no job from then on.",
    },
    {
	.name = "GenerateChangeSet",
	.input = &shape_GenerateChangeSetRequest,
	.output = &shape_GenerateChangeSetResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Make a change set of the stack that an application would launch.",
    },
    {
	.name = "GenerateTemplate",
	.input = &shape_GenerateTemplateRequest,
	.output = &shape_GenerateTemplateResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Make a template of the stack that an application would launch.",
    },
    {
	.name = "GetApp",
	.input = &shape_GetAppRequest,
	.output = &shape_GetAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Describe an application.",
    },
    {
	.name = "GetAppLaunchConfiguration",
	.input = &shape_GetAppLaunchConfigurationRequest,
	.output = &shape_GetAppLaunchConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Describe the launch configuration of an application.",
    },
    {
	.name = "GetAppReplicationConfiguration",
	.input = &shape_GetAppReplicationConfigurationRequest,
	.output = &shape_GetAppReplicationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Describe the replication configuration of an application.",
    },
    {
	.name = "GetAppValidationConfiguration",
	.input = &shape_GetAppValidationConfigurationRequest,
	.output = &shape_GetAppValidationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Describe the validation configuration of an application.",
    },
    {
	.name = "GetAppValidationOutput",
	.input = &shape_GetAppValidationOutputRequest,
	.output = &shape_GetAppValidationOutputResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Report the results of validating an application.",
    },
    {
	.name = "GetConnectors",
	.input = &shape_GetConnectorsRequest,
	.output = &shape_GetConnectorsResponse,
	.errors = ERRORS(UNAUTHORIZED),
	.handler = handle_get_connectors,
	.doc = "List the registered connectors.",
	.paged_list = "connectorList",
	.default_page = 50,
    },
    {
	.name = "GetReplicationJobs",
	.input = &shape_GetReplicationJobsRequest,
	.output = &shape_GetReplicationJobsResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, UNAUTHORIZED),
	.handler = handle_get_replication_jobs,
	.doc = "List the replication jobs, deleted ones included, or the one named.",
	.paged_list = "replicationJobList",
	.default_page = 50,
    },
    {
	.name = "GetReplicationRuns",
	.input = &shape_GetReplicationRunsRequest,
	.output = &shape_GetReplicationRunsResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, UNAUTHORIZED),
	.handler = handle_get_replication_runs,
	.doc = "Describe a replication job and list its runs, newest first.",
	.paged_list = "replicationRunList",
	.default_page = 50,
    },
    {
	.name = "GetServers",
	.input = &shape_GetServersRequest,
	.output = &shape_GetServersResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR),
	.handler = handle_get_servers,
	.doc = "List the servers of the catalog and say what state the catalog is in.",
	.paged_list = "serverList",
	.default_page = 50,
    },
    {
	.name = "ImportAppCatalog",
	.input = &shape_ImportAppCatalogRequest,
	.output = &shape_ImportAppCatalogResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Import applications discovered elsewhere.",
    },
    {
	.name = "ImportServerCatalog",
	.input = &shape_ImportServerCatalogRequest,
	.output = &shape_ImportServerCatalogResponse,
	.errors = ERRORS(UNAUTHORIZED, NOT_PERMITTED, INVALID_PARAMETER, MISSING_PARAMETER,
			 NO_CONNECTORS),
	.handler = handle_import_server_catalog,
	.doc = "Ask the connectors for the servers they see; answered before they answer.",
    },
    {
	.name = "LaunchApp",
	.input = &shape_LaunchAppRequest,
	.output = &shape_LaunchAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Launch an application from its newest images.",
    },
    {
	.name = "ListApps",
	.input = &shape_ListAppsRequest,
	.output = &shape_ListAppsResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "List the applications.",
	.paged_list = "apps",
	.default_page = 100,
    },
    {
	.name = "NotifyAppValidationOutput",
	.input = &shape_NotifyAppValidationOutputRequest,
	.output = &shape_NotifyAppValidationOutputResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Take the result of a validation that ran inside a server.",
    },
    {
	.name = "PutAppLaunchConfiguration",
	.input = &shape_PutAppLaunchConfigurationRequest,
	.output = &shape_PutAppLaunchConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Set the launch configuration of an application.",
    },
    {
	.name = "PutAppReplicationConfiguration",
	.input = &shape_PutAppReplicationConfigurationRequest,
	.output = &shape_PutAppReplicationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Set the replication configuration of an application.",
    },
    {
	.name = "PutAppValidationConfiguration",
	.input = &shape_PutAppValidationConfigurationRequest,
	.output = &shape_PutAppValidationConfigurationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Set the validation configuration of an application.",
    },
    {
	.name = "StartAppReplication",
	.input = &shape_StartAppReplicationRequest,
	.output = &shape_StartAppReplicationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Make replication jobs for every server of an application.",
    },
    {
	.name = "StartOnDemandAppReplication",
	.input = &shape_StartOnDemandAppReplicationRequest,
	.output = &shape_StartOnDemandAppReplicationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Run the replication of an application once, now.",
    },
    {
	.name = "StartOnDemandReplicationRun",
	.input = &shape_StartOnDemandReplicationRunRequest,
	.output = &shape_StartOnDemandReplicationRunResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, UNAUTHORIZED, NOT_PERMITTED,
			 RUN_LIMIT, DRY_RUN),
	.handler = handle_start_on_demand_replication_run,
	.doc = "Run a replication job now, beside its schedule.",
    },
    {
	.name = "StopAppReplication",
	.input = &shape_StopAppReplicationRequest,
	.output = &shape_StopAppReplicationResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Delete the replication jobs of every server of an application.",
    },
    {
	.name = "TerminateApp",
	.input = &shape_TerminateAppRequest,
	.output = &shape_TerminateAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Terminate the launched stack of an application.",
    },
    {
	.name = "UpdateApp",
	.input = &shape_UpdateAppRequest,
	.output = &shape_UpdateAppResponse,
	.errors = ERRORS(UNAUTHORIZED, INVALID_PARAMETER, MISSING_PARAMETER, INTERNAL_ERROR,
			 NOT_PERMITTED),
	.doc = "Change an application.",
    },
    {
	.name = "UpdateReplicationJob",
	.input = &shape_UpdateReplicationJobRequest,
	.output = &shape_UpdateReplicationJobResponse,
	.errors = ERRORS(INVALID_PARAMETER, MISSING_PARAMETER, NOT_PERMITTED, UNAUTHORIZED,
			 CANNOT_REPLICATE, JOB_NOT_FOUND, INTERNAL_ERROR, UNAVAILABLE),
	.handler = handle_update_replication_job,
	.doc = "Change the given settings of a replication job; others stay.",
    },
};

const struct api_service api_sms = {
    .target_prefix = "AWSServerMigrationService_V2016_10_24",
    .signing_name = "sms",
    .ops = ops,
    .op_count = COUNT_OF(ops),
};
