#ifndef LIFEBOAT_CMONGOC_H
#define LIFEBOAT_CMONGOC_H

#include <mongoc/mongoc.h>

// bson_t is 128-byte aligned, which Swift cannot give a variable of its own: documents pass as bytes.

/// Sends one command, a document of `length` bytes, and returns the answer's bytes, to be freed with bson_free, its
/// length in `answer_length`; NULL where there is none. `succeeded` says whether the server took it.
static inline uint8_t *cmongoc_command(
    mongoc_client_t *client, const char *database, const uint8_t *command, size_t length, uint32_t *answer_length,
    bool *succeeded, bson_error_t *error) {
    bson_t request, answer;
    *succeeded = false;
    *answer_length = 0;
    if (!bson_init_static(&request, command, length)) {
        return NULL;
    }
    *succeeded = mongoc_client_command_simple(client, database, &request, NULL, &answer, error);
    uint8_t *bytes = (uint8_t *)bson_malloc(answer.len);
    memcpy(bytes, bson_get_data(&answer), answer.len);
    *answer_length = answer.len;
    bson_destroy(&answer);
    return bytes;
}

/// Reads Extended JSON and returns the document's bytes, to be freed with bson_free; NULL where it is none.
static inline uint8_t *cmongoc_from_json(const uint8_t *json, size_t length, uint32_t *document_length) {
    bson_error_t error;
    bson_t *document = bson_new_from_json(json, (ssize_t)length, &error);
    return document ? bson_destroy_with_steal(document, true, document_length) : NULL;
}

/// A document as canonical Extended JSON, to be freed with bson_free; NULL where the bytes are none.
static inline char *cmongoc_to_json(const uint8_t *bytes, size_t length) {
    bson_t document;
    return bson_init_static(&document, bytes, length) ? bson_as_canonical_extended_json(&document, NULL) : NULL;
}

/// A client without a database, or NULL where `uri` is no connection string. Its errors are of version 2: the domain
/// MONGOC_ERROR_SERVER means that the code is the server's.
static inline mongoc_client_t *cmongoc_client(const char *uri) {
    mongoc_client_t *client = mongoc_client_new(uri);
    if (client) {
        mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    }
    return client;
}

#endif
