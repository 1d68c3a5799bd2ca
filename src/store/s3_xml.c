// SPDX-License-Identifier: Apache-2.0
#include "store/s3_xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define KEY_MAX 1024 /* decoded */

static const char *const namespace_uri = "http://s3.amazonaws.com/doc/2006-03-01/";

/* Reading */

static int document_parse(const void *xml, size_t n, const char *root, xmlDocPtr *out,
			  struct err *e)
{
	if (n == 0 || n > S3_XML_MAX || memchr(xml, '\0', n))
		return err_set(e, ERR_INVALID, "its answer is no <%s>", root);
	xmlDocPtr doc = xmlReadMemory(xml, (int)n, "s3", NULL,
				      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					  XML_PARSE_NOCDATA | XML_PARSE_NOBLANKS);
	xmlNodePtr top = doc ? xmlDocGetRootElement(doc) : NULL;
	if (!top || doc->intSubset || doc->extSubset ||
	    strcmp((const char *)top->name, root) != 0) {
		xmlFreeDoc(doc);
		return err_set(e, ERR_INVALID, "its answer is no plain <%s>", root);
	}
	*out = doc;
	return 0;
}

static bool is_element(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static xmlNodePtr child(const xmlNode *parent, const char *name)
{
	for (xmlNodePtr n = parent ? parent->children : NULL; n; n = n->next)
		if (is_element(n, name))
			return n;
	return NULL;
}

/* The text of a child, "" when there is none; the caller frees. */
static char *child_text(const xmlNode *parent, const char *name)
{
	const xmlNode *node = child(parent, name);
	xmlChar *content = node ? xmlNodeGetContent(node) : NULL;
	char *text = xstrdup(content ? (const char *)content : "");
	xmlFree(content);
	return text;
}

static void child_copy(const xmlNode *parent, const char *name, char *out, size_t room)
{
	char *text = child_text(parent, name);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	snprintf(out, room, "%s", text);
	out[utf8_valid(out, strlen(out))] = '\0'; /* cutting may have split a character */
	free(text);
}

bool s3_error_parse(const void *xml, size_t n, struct s3_error *out)
{
	xmlDocPtr doc;
	*out = (struct s3_error){0};
	if (document_parse(xml, n, "Error", &doc, NULL) < 0)
		return false;
	child_copy(xmlDocGetRootElement(doc), "Code", out->code, sizeof out->code);
	child_copy(xmlDocGetRootElement(doc), "Message", out->message, sizeof out->message);
	xmlFreeDoc(doc);
	return out->code[0] != '\0';
}

/* Undo encoding-type=url in place; false when it is not well-formed or too long. */
static bool key_decode(char *key)
{
	char *to = key;
	for (const char *p = key; *p; p++) {
		uint8_t byte = (uint8_t)*p;
		if (*p == '+') {
			byte = ' ';
		} else if (*p == '%') {
			const char digits[] = {p[1], p[1] ? p[2] : '\0', '\0'};
			if (!hex_decode(digits, 1, &byte) || byte == 0)
				return false;
			p += 2;
		}
		*to++ = (char)byte;
	}
	*to = '\0';
	return to - key <= KEY_MAX;
}

static int page_read(const xmlNode *top, struct s3_page *out, struct err *e)
{
	size_t cap = 0;
	for (const xmlNode *node = top->children; node; node = node->next) {
		if (!is_element(node, "Contents"))
			continue;
		if (out->count == S3_LIST_KEYS_MAX)
			return err_set(e, ERR_INVALID, "it lists more than %d keys at once",
				       S3_LIST_KEYS_MAX);
		char *key = child_text(node, "Key");
		VEC_GROW(out->keys, out->count, cap);
		out->keys[out->count++] = key;
		if (!*key || !key_decode(key))
			return err_set(e, ERR_INVALID, "it lists a key that is none");
	}
	char *truncated = child_text(top, "IsTruncated");
	bool more = strcmp(truncated, "true") == 0;
	free(truncated);
	if (!more)
		return 0;
	out->next = child_text(top, "NextContinuationToken");
	if (!*out->next || strlen(out->next) > S3_TOKEN_MAX)
		return err_set(e, ERR_INVALID,
			       "it breaks a list off and does not say how to go on");
	return 0;
}

int s3_page_parse(const void *xml, size_t n, struct s3_page *out, struct err *e)
{
	xmlDocPtr doc;
	*out = (struct s3_page){0};
	if (document_parse(xml, n, "ListBucketResult", &doc, e) < 0)
		return -1;
	int result = page_read(xmlDocGetRootElement(doc), out, e);
	xmlFreeDoc(doc);
	if (result < 0)
		s3_page_release(out);
	return result;
}

void s3_page_release(struct s3_page *page)
{
	for (size_t i = 0; i < page->count; i++)
		free(page->keys[i]);
	free(page->keys);
	free(page->next);
	*page = (struct s3_page){0};
}

/* Lifecycle rules */

/* The prefix a rule is for; the old form has it beside the filter. */
static char *rule_prefix(const xmlNode *rule)
{
	const xmlNode *filter = child(rule, "Filter"), *and = child(filter, "And");
	return child_text(and? and : filter && child(filter, "Prefix") ? filter : rule, "Prefix");
}

/* Objects of ours have no tags, so a rule for tagged ones does not touch them. */
static bool rule_wants_tag(const xmlNode *rule)
{
	const xmlNode *filter = child(rule, "Filter");
	return child(filter, "Tag") || child(child(filter, "And"), "Tag");
}

static bool rule_expires(const xmlNode *rule)
{
	const xmlNode *expiration = child(rule, "Expiration");
	return child(expiration, "Days") || child(expiration, "Date");
}

/* To a class from which nothing is read at once. */
static bool rule_archives(const xmlNode *rule)
{
	bool found = false;
	for (const xmlNode *n = rule->children; n && !found; n = n->next) {
		if (!is_element(n, "Transition"))
			continue;
		char *class = child_text(n, "StorageClass");
		found = strcmp(class, "GLACIER") == 0 || strcmp(class, "DEEP_ARCHIVE") == 0;
		free(class);
	}
	return found;
}

static void rule_judge(const xmlNode *rule, const char *prefix, struct s3_lifecycle *out)
{
	char id[80], *status = child_text(rule, "Status"), *at = rule_prefix(rule);
	char *staging = xasprintf("%sstaging/", prefix);
	bool enabled = strcmp(status, "Enabled") == 0;
	bool expires = rule_expires(rule), archives = rule_archives(rule);
	bool ours = text_starts(at, prefix) || text_starts(prefix, at);
	if (!enabled || rule_wants_tag(rule) || !(expires || archives) || !ours) {
		/* nothing to us */
	} else if (text_starts(at, staging)) {
		out->staging |= expires && strcmp(at, staging) == 0;
	} else if (!out->harm[0]) {
		child_copy(rule, "ID", id, sizeof id);
		for (char *p = at; *p; p++)
			if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
				*p = '?';
		snprintf(out->harm, sizeof out->harm, "\"%s\" %s objects below \"%.150s\"", id,
			 expires ? "deletes" : "archives", at);
	}
	free(staging);
	free(status);
	free(at);
}

int s3_lifecycle_parse(const void *xml, size_t n, const char *prefix, struct s3_lifecycle *out,
		       struct err *e)
{
	xmlDocPtr doc;
	unsigned rules = 0;
	*out = (struct s3_lifecycle){0};
	if (document_parse(xml, n, "LifecycleConfiguration", &doc, e) < 0)
		return -1;
	int result = 0;
	for (const xmlNode *rule = xmlDocGetRootElement(doc)->children; rule; rule = rule->next) {
		if (!is_element(rule, "Rule"))
			continue;
		if (++rules > S3_RULES_MAX) {
			result = err_set(e, ERR_INVALID, "it has more than %d lifecycle rules",
					 S3_RULES_MAX);
			break;
		}
		rule_judge(rule, prefix, out);
	}
	xmlFreeDoc(doc);
	return result;
}

static xmlNodePtr add(xmlNodePtr parent, const char *name, const char *text)
{
	return xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

int s3_lifecycle_add(const void *xml, size_t n, const char *prefix, struct buf *out, struct err *e)
{
	xmlDocPtr doc;
	xmlChar *dump = NULL;
	int len = 0;
	if (xml) {
		if (document_parse(xml, n, "LifecycleConfiguration", &doc, e) < 0)
			return -1;
	} else {
		doc = xmlNewDoc((const xmlChar *)"1.0");
		xmlNodePtr top = xmlNewNode(NULL, (const xmlChar *)"LifecycleConfiguration");
		xmlDocSetRootElement(doc, top);
		xmlSetNs(top, xmlNewNs(top, (const xmlChar *)namespace_uri, NULL));
	}
	char *id = xasprintf("godwit %sstaging", prefix), *below = xasprintf("%sstaging/", prefix);
	xmlNodePtr rule = add(xmlDocGetRootElement(doc), "Rule", NULL);
	add(rule, "ID", id);
	add(add(rule, "Filter", NULL), "Prefix", below);
	add(rule, "Status", "Enabled");
	add(add(rule, "Expiration", NULL), "Days", "7");
	xmlDocDumpMemoryEnc(doc, &dump, &len, "UTF-8");
	buf_add(out, dump, (size_t)len);
	xmlFree(dump);
	xmlFreeDoc(doc);
	free(below);
	free(id);
	return 0;
}
