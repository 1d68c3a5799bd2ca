// SPDX-License-Identifier: Apache-2.0
/*
 * What the service model lacks and godwit needs: images and what was proven of them, resuming and
 * tuning jobs, the numbers of a run, registration of connectors, the state of the service. Same
 * protocol, same signature (scope service "sms"), target prefix of its own.
 */
#include "api/handlers.h"
#include "api/shapes.h"
#include "base/limits.h"
#include "base/mem.h"

#define ERRORS(...)                                                                                \
	(const char *const[])                                                                      \
	{                                                                                          \
		"InvalidParameterException", "MissingRequiredParameterException",                  \
		    "UnauthorizedOperationException", "InternalError",                             \
		    "TemporarilyUnavailableException", ##__VA_ARGS__, NULL                         \
	}
#define EMPTY(shape_name)                                                                          \
	static const struct api_shape shape_##shape_name = {                                       \
	    .name = #shape_name, .type = API_STRUCTURE, .members = no_members}

static const struct api_member no_members[] = {{0}};

static PLAIN(Bytes, API_INTEGER);
static PLAIN(Count, API_INTEGER);
static PLAIN(Flag, API_BOOLEAN);
static PLAIN(Sentence, API_STRING);
static PLAIN(Word, API_STRING);
static ENUM(BootTest, "required", "advisory", "off");
static ENUM(ImageState, "available", "deleted");

/* A name that a person gives: it is shown, and stands in a certificate. */
static const struct api_shape shape_ConnectorName = {
    .name = "ConnectorName",
    .type = API_STRING,
    .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 64,
};
static const struct api_shape shape_BootTestEvery = {
    .name = "BootTestEvery",
    .type = API_INTEGER,
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 1000,
};
static const struct api_shape shape_FailureLimit = {
    .name = "FailureLimit",
    .type = API_INTEGER,
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 100,
};

#define IMAGE_MEMBERS                                                                              \
	MEMBER(imageId, AmiId), MEMBER(name, Word), MEMBER(replicationJobId, ReplicationJobId),    \
	    MEMBER(serverId, ServerId), MEMBER(replicationRunId, ReplicationRunId),                \
	    MEMBER(state, ImageState), MEMBER(createdOn, Timestamp), MEMBER(verdict, Word),        \
	    MEMBER(verdictText, Sentence), MEMBER(verdictOn, Timestamp), MEMBER(sizeBytes, Bytes), \
	    MEMBER(bytesStored, Bytes), MEMBER(bytesNew, Bytes), MEMBER(overlayOf, AmiId)

static STRUCTURE(Image, IMAGE_MEMBERS);
static LIST(ImageList, Image);
static STRUCTURE(ImageDisk, MEMBER(key, Word), MEMBER(sizeBytes, Bytes), MEMBER(root, Word),
		 MEMBER(bus, Word));
static LIST(ImageDiskList, ImageDisk);
static STRUCTURE(Machine, MEMBER(name, VmName), MEMBER(path, VmPath), MEMBER(guestOs, Word),
		 MEMBER(firmware, Word), MEMBER(machine, Word), MEMBER(vcpus, Count),
		 MEMBER(memoryBytes, Bytes), MEMBER(nicCount, Count));
/* A program of this machine listens there: STATE/run/<socket>.sock */
static const struct api_shape shape_SocketName = {
    .name = "SocketName",
    .type = API_STRING,
    .pattern = "^[a-z0-9-]+$",
    .has_min = true,
    .min = 1,
    .has_max = true,
    .max = 32,
};
static const struct api_shape shape_DiskNumber = {
    .name = "DiskNumber",
    .type = API_INTEGER,
    .has_min = true,
    .min = 0,
    .has_max = true,
    .max = LIMIT_DISKS_PER_SERVER - 1,
};
static STRUCTURE(StateCount, MEMBER(state, Word), MEMBER(count, Count));
static LIST(StateCountList, StateCount);

static STRUCTURE(ListImagesRequest, MEMBER(nextToken, NextToken), MEMBER(maxResults, MaxResults),
		 MEMBER(replicationJobId, ReplicationJobId));
static STRUCTURE(ListImagesResponse, MEMBER(imageList, ImageList), MEMBER(nextToken, NextToken));

static STRUCTURE(GetImageRequest, REQUIRED(imageId, AmiId));
static STRUCTURE(GetImageResponse, IMAGE_MEMBERS, MEMBER(evidence, Word),
		 MEMBER(disks, ImageDiskList), MEMBER(machine, Machine), MEMBER(serverPower, Word));

static STRUCTURE(BeginImageCommitRequest, REQUIRED(imageId, AmiId));
static STRUCTURE(BeginImageCommitResponse, MEMBER(commitId, Word));
static STRUCTURE(CommitImageDiskRequest, REQUIRED(commitId, Word), REQUIRED(disk, DiskNumber),
		 REQUIRED(socket, SocketName));
EMPTY(CommitImageDiskResponse);
static STRUCTURE(EndImageCommitRequest, REQUIRED(commitId, Word));
static STRUCTURE(EndImageCommitResponse, MEMBER(imageId, AmiId));

static STRUCTURE(DeleteImageRequest, REQUIRED(imageId, AmiId));
EMPTY(DeleteImageResponse);

static STRUCTURE(ResumeReplicationJobRequest, REQUIRED(replicationJobId, ReplicationJobId));
EMPTY(ResumeReplicationJobResponse);

static STRUCTURE(PutReplicationJobOptionsRequest, REQUIRED(replicationJobId, ReplicationJobId),
		 MEMBER(bootTest, BootTest), MEMBER(bootTestEvery, BootTestEvery),
		 MEMBER(pauseOnFailure, Flag), MEMBER(failureLimit, FailureLimit));
EMPTY(PutReplicationJobOptionsResponse);

static STRUCTURE(GetRunProgressRequest, REQUIRED(replicationRunId, ReplicationRunId));
static STRUCTURE(GetRunProgressResponse, MEMBER(replicationRunId, ReplicationRunId),
		 MEMBER(replicationJobId, ReplicationJobId), MEMBER(state, ReplicationRunState),
		 MEMBER(stage, ReplicationRunStage),
		 MEMBER(stageProgress, ReplicationRunStageProgress),
		 MEMBER(statusMessage, ReplicationRunStatusMessage), MEMBER(bytesTotal, Bytes),
		 MEMBER(bytesDone, Bytes), MEMBER(bytesRead, Bytes), MEMBER(bytesNew, Bytes),
		 MEMBER(bytesSent, Bytes), MEMBER(bytesStored, Bytes), MEMBER(chunks, Count),
		 MEMBER(chunksNew, Count), MEMBER(bytesReread, Bytes), MEMBER(readReason, Sentence),
		 MEMBER(consistency, Sentence), MEMBER(verdict, Word),
		 MEMBER(verdictText, Sentence), MEMBER(imageId, AmiId),
		 MEMBER(startedAt, Timestamp), MEMBER(stageSince, Timestamp),
		 MEMBER(completedTime, Timestamp), MEMBER(queuePosition, Count));

static STRUCTURE(CreateConnectorTokenRequest, REQUIRED(name, ConnectorName));
static STRUCTURE(CreateConnectorTokenResponse, MEMBER(token, Word), MEMBER(name, ConnectorName),
		 MEMBER(expires, Timestamp));

EMPTY(GetServiceStatusRequest);
static STRUCTURE(GetServiceStatusResponse, MEMBER(version, Word), MEMBER(region, Word),
		 MEMBER(account, Word), MEMBER(rules, Word),
		 MEMBER(serverCatalogStatus, ServerCatalogStatus), MEMBER(servers, Count),
		 MEMBER(connectors, Count), MEMBER(connectorsHealthy, Count), MEMBER(images, Count),
		 MEMBER(jobs, StateCountList), MEMBER(runs, StateCountList));

EMPTY(CollectStoreRequest);
EMPTY(CollectStoreResponse);

EMPTY(GetStoreCollectionRequest);
static STRUCTURE(GetStoreCollectionResponse, MEMBER(collection, Word), MEMBER(collections, Count),
		 MEMBER(startedOn, Timestamp), MEMBER(endedOn, Timestamp),
		 MEMBER(recordBytes, Bytes), MEMBER(liveBytes, Bytes), MEMBER(freedBytes, Bytes),
		 MEMBER(records, Count), MEMBER(liveRecords, Count), MEMBER(packs, Count),
		 MEMBER(packsRemoved, Count), MEMBER(packsRewritten, Count),
		 MEMBER(packsDamaged, Count), MEMBER(problem, Sentence));

#define JOB_NOT_FOUND "ReplicationJobNotFoundException"
#define NOT_PERMITTED "OperationNotPermittedException"

static const struct api_op ops[] = {
    {
	.name = "BeginImageCommit",
	.input = &shape_BeginImageCommitRequest,
	.output = &shape_BeginImageCommitResponse,
	.errors = ERRORS(NOT_PERMITTED),
	.handler = handle_begin_image_commit,
	.doc = "Begin to make an image of what was written over one.",
    },
    {
	.name = "CommitImageDisk",
	.input = &shape_CommitImageDiskRequest,
	.output = &shape_CommitImageDiskResponse,
	.errors = ERRORS(NOT_PERMITTED),
	.handler = handle_commit_image_disk,
	.doc = "Take what changed on a disk from a program of this machine.",
    },
    {
	.name = "CollectStore",
	.input = &shape_CollectStoreRequest,
	.output = &shape_CollectStoreResponse,
	.errors = ERRORS(),
	.handler = handle_collect_store,
	.doc = "Free what no image, run or reader needs; begun soon, and not waited for.",
    },
    {
	.name = "CreateConnectorToken",
	.input = &shape_CreateConnectorTokenRequest,
	.output = &shape_CreateConnectorTokenResponse,
	.errors = ERRORS(),
	.handler = handle_create_connector_token,
	.doc = "Make a one-time token with which a connector registers within the hour.",
    },
    {
	.name = "DeleteImage",
	.input = &shape_DeleteImageRequest,
	.output = &shape_DeleteImageResponse,
	.errors = ERRORS(NOT_PERMITTED),
	.handler = handle_delete_image,
	.doc = "Delete an image; its bytes go when nothing else refers to them.",
    },
    {
	.name = "EndImageCommit",
	.input = &shape_EndImageCommitRequest,
	.output = &shape_EndImageCommitResponse,
	.errors = ERRORS(NOT_PERMITTED),
	.handler = handle_end_image_commit,
	.doc = "Record the image when every disk that was begun came whole.",
    },
    {
	.name = "GetImage",
	.input = &shape_GetImageRequest,
	.output = &shape_GetImageResponse,
	.errors = ERRORS(),
	.handler = handle_get_image,
	.doc = "Describe an image: its disks, its machine, and whether it was seen to boot.",
    },
    {
	.name = "GetRunProgress",
	.input = &shape_GetRunProgressRequest,
	.output = &shape_GetRunProgressResponse,
	.errors = ERRORS(),
	.handler = handle_get_run_progress,
	.doc = "Tell how far a run is and what it read, sent and stored.",
    },
    {
	.name = "GetServiceStatus",
	.input = &shape_GetServiceStatusRequest,
	.output = &shape_GetServiceStatusResponse,
	.errors = ERRORS(),
	.handler = handle_get_service_status,
	.doc = "Count servers, connectors, jobs, runs and images.",
    },
    {
	.name = "GetStoreCollection",
	.input = &shape_GetStoreCollectionRequest,
	.output = &shape_GetStoreCollectionResponse,
	.errors = ERRORS(),
	.handler = handle_get_store_collection,
	.doc = "Tell what the newest collection of the store found and freed.",
    },
    {
	.name = "ListImages",
	.input = &shape_ListImagesRequest,
	.output = &shape_ListImagesResponse,
	.errors = ERRORS(),
	.handler = handle_list_images,
	.doc = "List the images, newest first, of all jobs or of one.",
	.paged_list = "imageList",
	.default_page = 50,
    },
    {
	.name = "PutReplicationJobOptions",
	.input = &shape_PutReplicationJobOptionsRequest,
	.output = &shape_PutReplicationJobOptionsResponse,
	.errors = ERRORS(JOB_NOT_FOUND, NOT_PERMITTED),
	.handler = handle_put_replication_job_options,
	.doc = "Set how a job's images are proven and what its failures do; others stay.",
    },
    {
	.name = "ResumeReplicationJob",
	.input = &shape_ResumeReplicationJobRequest,
	.output = &shape_ResumeReplicationJobResponse,
	.errors = ERRORS(JOB_NOT_FOUND, NOT_PERMITTED),
	.handler = handle_resume_replication_job,
	.doc = "Go on with a job that paused after failures.",
    },
};

const struct api_service api_godwit = {
    .target_prefix = "Godwit_V2026_11_21",
    .signing_name = "sms",
    .ops = ops,
    .op_count = COUNT_OF(ops),
};
