/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See options.h. Values are numbers (words are the index in their list), so that one row of code serves all keys.
 */
#include "cache/options.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/os.h"
#include "sys/text.h"

enum kind { WORD, BYTES, NUMBER, FLAG, PATH, PROGRAM };

struct row {
	const char *key, *what;
	enum kind kind;
	bool live;
	uint64_t low, high;
	_Atomic uint64_t *value;
};

#define PRESET(key, kind, preset, low, high, live, what) .key = (preset),
struct bp_options bp_options = { BP_OPTIONS(PRESET) };

#define ROW(key, kind, preset, low, high, live, what) { #key, what, kind, live, low, high, &bp_options.key },
static const struct row rows[] = { BP_OPTIONS(ROW) };

enum { ROWS = sizeof(rows) / sizeof(*rows), WORDS_MAX = 4 };

static const struct {
	const char *key, *words[WORDS_MAX];
} lists[] = {
	{ "mode", { "pool", "pass" } },
	{ "percpu", { "auto", "rseq", "fallback" } },
	{ "check", { "auto", "off", "on", "strict" } },
	{ "misuse", { "abort", "report" } },
};
static const char *const flags[WORDS_MAX] = { "false", "true" };

static const char *const *words_of(const struct row *r)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		if (strcmp(lists[i].key, r->key) == 0)
			return lists[i].words;
	return flags;
}

static bool same(const char *word, const char *text, size_t length)
{
	return word != NULL && strlen(word) == length && memcmp(word, text, length) == 0;
}

/* Digits, and for sizes one of k, m, g (powers of 1024). */
static bool read_number(uint64_t *out, const char *text, size_t length, bool sized)
{
	uint64_t value = 0;
	size_t i = 0;
	for (; i < length && text[i] >= '0' && text[i] <= '9'; i++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return false;
	if (i == 0)
		return false;
	static const char units[] = "kmg";
	const char *unit = sized && i + 1 == length ? strchr(units, text[i] | 0x20) : NULL;
	if (unit != NULL && *unit != '\0') {
		unsigned shift = 10 * (unsigned)(unit - units + 1);
		if (value > UINT64_MAX >> shift)
			return false;
		value <<= shift;
		i++;
	}
	*out = value;
	return i == length;
}

static bool read_value(uint64_t *out, const struct row *r, const char *text, size_t length)
{
	if (r->kind == BYTES || r->kind == NUMBER)
		return read_number(out, text, length, r->kind == BYTES);
	for (unsigned i = 0; i < WORDS_MAX; i++) {
		if (same(words_of(r)[i], text, length)) {
			*out = i;
			return true;
		}
	}
	return false;
}

static const struct row *row_of(const char *key, size_t length)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (same(rows[i].key, key, length))
			return &rows[i];
	return NULL;
}

static char *path_of(const struct row *r)
{
	return bp_options.paths[atomic_load_explicit(r->value, memory_order_relaxed)];
}

/* Does a pattern, a name or the beginning of one with a star behind it, name the program that runs here? */
static bool names_this_program(const char *pattern, size_t length)
{
	char name[256];
	bool open = pattern[length - 1] == '*';
	for (unsigned i = 0; bp_os_program(name, sizeof(name), i); i++)
		if (strncmp(name, pattern, length - open) == 0 && (open || name[length] == '\0'))
			return true;
	return false;
}

/* One more name on the list. Which names are on it matters only if one is this program's. */
static int deny(const char *pattern, size_t length)
{
	if (length >= sizeof(bp_options.denied))
		return -EINVAL;
	if (length > 0 && names_this_program(pattern, length)) {
		memcpy(bp_options.denied, pattern, length);
		bp_options.denied[length] = '\0';
		atomic_store_explicit(&bp_options.mode, BP_MODE_PASS, memory_order_relaxed);
	}
	return 0;
}

int bp_options_set(const char *key, size_t key_length, const char *text, size_t length, bool starting)
{
	const struct row *r = row_of(key, key_length);
	uint64_t value = 0;
	if (r == NULL)
		return -ENOENT;
	if (r->kind == PROGRAM)
		return starting ? deny(text, length) : -EPERM;
	if (r->kind != PATH && (!read_value(&value, r, text, length) || value < r->low || value > r->high))
		return -EINVAL;
	if (!r->live && !starting)
		return -EPERM;
	if (r->kind == PATH) {
		if (length >= BP_PATH_MAX)
			return -EINVAL;
		memcpy(path_of(r), text, length);
		path_of(r)[length] = '\0';
		return 0;
	}
	atomic_store_explicit(r->value, value, memory_order_relaxed);
	return 0;
}

int bp_options_get(char *out, size_t size, const char *key)
{
	const struct row *r = row_of(key, strlen(key));
	char text[BP_PATH_MAX];
	struct bp_text t = BP_TEXT_ON(text);
	if (r == NULL)
		return -ENOENT;
	uint64_t value = atomic_load_explicit(r->value, memory_order_relaxed);
	text[0] = '\0';
	if (r->kind == PATH)
		bp_text_add(&t, path_of(r));
	else if (r->kind == PROGRAM)
		bp_text_add(&t, bp_options.denied);
	else if (r->kind == BYTES || r->kind == NUMBER)
		bp_text_number(&t, value);
	else
		bp_text_add(&t, words_of(r)[value]);
	if (t.length >= size)
		return -ERANGE;
	memcpy(out, text, t.length + 1);
	return 0;
}

const char *bp_options_row(unsigned i, const char **what)
{
	if (i >= ROWS)
		return NULL;
	*what = rows[i].what;
	return rows[i].key;
}

/* ---- start ---- */

/* In parentheses: what would have been right. */
static void add_values(struct bp_text *t, const struct row *r)
{
	bp_text_add(t, " (");
	if (r->kind == BYTES || r->kind == NUMBER) {
		bp_text_number(t, r->low);
		bp_text_add(t, " to ");
		bp_text_number(t, r->high);
	} else if (r->kind == PATH || r->kind == PROGRAM) {
		bp_text_add(t, "at most ");
		bp_text_number(t, (r->kind == PATH ? BP_PATH_MAX : sizeof(bp_options.denied)) - 1);
		bp_text_add(t, " bytes");
	} else {
		for (unsigned i = 0; i <= r->high; i++) {
			bp_text_add(t, i == 0 ? "" : i == r->high ? " or " : ", ");
			bp_text_add(t, words_of(r)[i]);
		}
	}
	bp_text_add(t, ")");
}

static void complain(const char *why, const char *pair, size_t length, const struct row *right)
{
	char line[512];
	struct bp_text t = BP_TEXT_ON(line);
	bp_text_add(&t, "bufpool: ");
	bp_text_add(&t, why);
	bp_text_add(&t, ": ");
	bp_text_bytes(&t, pair, length);
	if (right != NULL)
		add_values(&t, right);
	bp_text_add(&t, "\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

/* Returns false where a pair could not be read. */
static bool read_pairs(const char *text)
{
	bool good = true;
	while (*text != '\0') {
		size_t length = strcspn(text, ",\n");
		size_t key = 0;
		while (key < length && text[key] != ':')
			key++;
		int failed = length == 0 ? 0 : key == length ? -EINVAL :
			     bp_options_set(text, key, text + key + 1, length - key - 1, true);
		if (failed != 0) {
			complain(failed == -ENOENT ? "no such option" : "invalid option", text, length, row_of(text, key));
			good = false;
		}
		text += length + (text[length] != '\0');
	}
	return good;
}

static void confirm(void)
{
	char line[2048], value[BP_PATH_MAX];
	struct bp_text t = BP_TEXT_ON(line);
	bp_text_add(&t, "bufpool: ");
	for (unsigned i = 0; i < ROWS; i++) {
		bp_options_get(value, sizeof(value), rows[i].key);
		bp_text_add(&t, i == 0 ? "" : ",");
		bp_text_add(&t, rows[i].key);
		bp_text_add(&t, ":");
		bp_text_add(&t, value);
	}
	bp_text_add(&t, "\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

BP_REMOTE char bp_options_file[4096]; /* not on the stack: this may be a small thread's first call */

void bp_options_start(void)
{
	bool good = true;
	static atomic_flag read = ATOMIC_FLAG_INIT;
	if (atomic_flag_test_and_set_explicit(&read, memory_order_relaxed) || bp_os_secure())
		return;
	if (bp_os_read_file(bp_options_file, sizeof(bp_options_file), "/etc/bufpool.conf") > 0)
		good = read_pairs(bp_options_file);
	const char *environment = bp_os_environment("BUFPOOL_CONF");
	if (environment != NULL)
		good = read_pairs(environment) && good;
	if (atomic_load_explicit(&bp_options.confirm_conf, memory_order_relaxed))
		confirm();
	if (!good && atomic_load_explicit(&bp_options.abort_conf, memory_order_relaxed))
		abort();
}
