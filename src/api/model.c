// SPDX-License-Identifier: Apache-2.0
/* The table written out as botocore's service-2.json. */
#include <string.h>

#include "api/handlers.h"
#include "base/mem.h"
#include "base/text.h"

static void add_shape(json_t *shapes, const struct api_shape *shape);

static const char *type_word(enum api_type type)
{
	static const char *const words[] = {
	    [API_STRING] = "string",	   [API_INTEGER] = "integer",	  [API_BOOLEAN] = "boolean",
	    [API_TIMESTAMP] = "timestamp", [API_STRUCTURE] = "structure", [API_LIST] = "list",
	};
	return words[type];
}

static json_t *reference(const char *name)
{
	return json_pack("{s:s}", "shape", name);
}

static void add_members(json_t *out, json_t *shapes, const struct api_shape *shape)
{
	json_t *members = json_object(), *required = json_array();
	for (const struct api_member *m = shape->members; m->name; m++) {
		json_t *member = reference(m->shape->name);
		out_text(member, "documentation", m->doc);
		json_object_set_new(members, m->name, member);
		if (m->required)
			json_array_append_new(required, json_string(m->name));
		add_shape(shapes, m->shape);
	}
	json_object_set_new(out, "members", members);
	if (json_array_size(required))
		json_object_set(out, "required", required);
	json_decref(required);
}

static void add_shape(json_t *shapes, const struct api_shape *shape)
{
	if (json_object_get(shapes, shape->name))
		return;
	json_t *out = json_object();
	json_object_set_new(shapes, shape->name, out);
	out_text(out, "type", type_word(shape->type));
	if (shape->values) {
		json_t *words = json_array();
		for (unsigned i = 0; shape->values[i]; i++)
			json_array_append_new(words, json_string(shape->values[i]));
		json_object_set_new(out, "enum", words);
	}
	out_text(out, "pattern", shape->pattern);
	if (shape->has_min)
		out_integer(out, "min", shape->min);
	if (shape->has_max)
		out_integer(out, "max", shape->max);
	if (shape->type == API_STRUCTURE)
		add_members(out, shapes, shape);
	if (shape->type == API_LIST) {
		json_object_set_new(out, "member", reference(shape->item->name));
		add_shape(shapes, shape->item);
	}
}

static void add_exception(json_t *shapes, const struct api_exception *x)
{
	if (json_object_get(shapes, x->name))
		return;
	json_t *out = json_object(), *members = json_object();
	out_text(out, "type", "structure");
	if (x->has_message) {
		json_object_set_new(members, "message", reference("ErrorMessage"));
		if (!json_object_get(shapes, "ErrorMessage"))
			json_object_set_new(shapes, "ErrorMessage",
					    json_pack("{s:s}", "type", "string"));
	}
	json_object_set_new(out, "members", members);
	out_boolean(out, "exception", true);
	if (x->fault)
		out_boolean(out, "fault", true);
	json_object_set_new(shapes, x->name, out);
}

static json_t *operation(json_t *shapes, const struct api_op *op)
{
	json_t *out = json_object(), *errors = json_array();
	out_text(out, "name", op->name);
	json_object_set_new(out, "http",
			    json_pack("{s:s, s:s}", "method", "POST", "requestUri", "/"));
	if (op->input) {
		json_object_set_new(out, "input", reference(op->input->name));
		add_shape(shapes, op->input);
	}
	if (op->output) {
		json_object_set_new(out, "output", reference(op->output->name));
		add_shape(shapes, op->output);
	}
	for (unsigned i = 0; op->errors && op->errors[i]; i++) {
		json_array_append_new(errors, reference(op->errors[i]));
		const struct api_exception *x = api_exception_named(op->errors[i]);
		if (x)
			add_exception(shapes, x);
	}
	json_object_set_new(out, "errors", errors);
	out_text(out, "documentation", op->doc);
	return out;
}

json_t *api_model(const struct api_service *service)
{
	json_t *model = json_object(), *operations = json_object(), *shapes = json_object();
	const char *version = strstr(service->target_prefix, "_V");
	struct buf date = {0};
	for (const char *p = version ? version + 2 : ""; *p; p++)
		buf_add_byte(&date, *p == '_' ? '-' : (uint8_t)*p);
	bool own = service == &api_godwit;
	json_t *metadata = json_object();
	out_text(metadata, "apiVersion", buf_str(&date));
	out_text(metadata, "endpointPrefix", service->signing_name);
	out_text(metadata, "jsonVersion", "1.1");
	out_text(metadata, "protocol", "json");
	out_text(metadata, "serviceFullName", own ? "godwit" : "AWS Server Migration Service");
	out_text(metadata, "serviceId", own ? "godwit" : "SMS");
	out_text(metadata, "signatureVersion", "v4");
	out_text(metadata, "signingName", service->signing_name);
	out_text(metadata, "targetPrefix", service->target_prefix);
	buf_release(&date);
	for (unsigned i = 0; i < service->op_count; i++)
		json_object_set_new(operations, service->ops[i].name,
				    operation(shapes, &service->ops[i]));
	json_object_set_new(model, "version", json_string("2.0"));
	json_object_set_new(model, "metadata", metadata);
	json_object_set_new(model, "operations", operations);
	json_object_set_new(model, "shapes", shapes);
	return model;
}
