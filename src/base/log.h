// SPDX-License-Identifier: Apache-2.0
/*
 * Logging, for programs: one line per event on standard error, "time level program: text".
 * Libraries return errors and never call this, except log_debug.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `program` must outlive the program. The level comes from GODWIT_LOG (error, warn, info, debug),
 * else `level`. */
void log_init(const char *program, enum log_level level);

/* Control characters in the text (they may come from a guest's name) are shown as \xNN. */
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
