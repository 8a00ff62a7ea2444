/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SQLite on the pool. The hooks are the process's and may be set while SQLite is shut down only: what is compared with
 * is made before, and every run starts SQLite and ends it, so that nothing may be left.
 */
#include <sqlite3.h>

#include <bufpool/adapters/sqlite3.h>
#include "support.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(sqlite3, .timeout = 120);

/* Trees of pages, sorting, joins, text and blobs of all sizes, a transaction undone, and a file made smaller. */
static const char *const statements[] = {
	"CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, note BLOB, boss INTEGER REFERENCES person)",
	"CREATE INDEX by_name ON person (name, boss)",
	"CREATE TABLE log (line TEXT)",
	"CREATE TRIGGER logged AFTER UPDATE ON person BEGIN INSERT INTO log VALUES (old.name || '>' || new.name); END",
	"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
	" INSERT INTO person SELECT i, 'person ' || (i * 7919 % 997), zeroblob(i % 40 * 97), i / 3 FROM n",
	"UPDATE person SET name = upper(name) WHERE id % 5 = 0",
	"BEGIN",
	"DELETE FROM person WHERE id % 2 = 0",
	"ROLLBACK",
	"DELETE FROM person WHERE id % 7 = 0",
	"VACUUM",
	"SELECT count(*), sum(length(note)), group_concat(DISTINCT substr(name, 1, 8)) FROM person",
	"SELECT p.id, p.name, b.name, length(p.note) FROM person p JOIN person b ON b.id = p.boss"
	" ORDER BY b.name DESC, p.id LIMIT 200",
	"SELECT line, count(*) FROM log GROUP BY line ORDER BY 2 DESC, 1 LIMIT 20",
	"SELECT printf('%s %.3f %q', name, id / 3.0, name), hex(zeroblob(3)) FROM person WHERE name GLOB '*[13]' ORDER BY id",
};

struct task {
	const char *path;
	int rows;
	char *expected;
};

static int step_through(sqlite3_stmt *statement, FILE *out)
{
	int r;

	while ((r = sqlite3_step(statement)) == SQLITE_ROW)
		for (int i = 0; i < sqlite3_column_count(statement); i++) {
			const char *text = (const char *)sqlite3_column_text(statement, i);

			if (!text && sqlite3_column_type(statement, i) != SQLITE_NULL)
				return SQLITE_NOMEM;
			fprintf(out, "%s|", text ? text : "NULL");
		}
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int execute(sqlite3 *db, const char *text, int rows, FILE *out)
{
	sqlite3_stmt *statement;
	int r = sqlite3_prepare_v2(db, text, -1, &statement, NULL);

	if (r != SQLITE_OK)
		return r;
	if (sqlite3_bind_parameter_count(statement))
		r = sqlite3_bind_int(statement, 1, rows);
	if (r == SQLITE_OK)
		r = step_through(statement, out);
	sqlite3_finalize(statement);
	return r;
}

/* One database from its making to its end; SQLite is shut down before and after. */
static int session(const struct task *task, FILE *out)
{
	sqlite3 *db = NULL;
	int r = sqlite3_open(task->path, &db);

	for (size_t i = 0; i < T_COUNT(statements) && r == SQLITE_OK; i++)
		r = execute(db, statements[i], task->rows, out);
	cr_assert_eq(sqlite3_close(db), SQLITE_OK);
	cr_assert_eq(sqlite3_shutdown(), SQLITE_OK);
	return r;
}

/* What it wrote; NULL where SQLite said that it has no memory. */
static char *result(const struct task *task)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int r;

	cr_assert_not_null(out);
	if (task->path[0] == '/')
		unlink(task->path);
	r = session(task, out);
	fclose(out);
	if (r == SQLITE_OK)
		return text;
	cr_assert(r == SQLITE_NOMEM || r == SQLITE_IOERR_NOMEM, "error %d: %s", r, sqlite3_errstr(r));
	free(text);
	return NULL;
}

static enum t_outcome run(void *ctx)
{
	struct task *task = ctx;
	char *text = result(task);

	if (!text)
		return T_REPORTED;
	cr_assert_str_eq(text, task->expected);
	free(text);
	return T_DONE;
}

/* Runs it without hooks, then sets them. */
static void begin(struct task *task)
{
	task->expected = result(task);
	cr_assert_gt(strlen(task->expected), 100);
	t_begin();
	cr_assert_eq(bufpool_sqlite3_install_process(), SQLITE_OK);
}

Test(sqlite3, queries_give_what_they_give_without_hooks)
{
	struct task task = { ":memory:", 3000, NULL };

	begin(&task);
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 5000);
	t_end();
	free(task.expected);
}

Test(sqlite3, a_database_in_a_file)
{
	char path[64];
	struct task task = { path, 3000, NULL };

	snprintf(path, sizeof(path), "/tmp/bufpool-test-%d.db", (int)getpid());
	begin(&task);
	cr_assert_eq(run(&task), T_DONE);
	t_end();
	unlink(path);
	free(task.expected);
}

Test(sqlite3, sizes_are_the_blocks_own)
{
	t_begin();
	cr_assert_eq(bufpool_sqlite3_install_process(), SQLITE_OK);
	cr_assert_eq(sqlite3_initialize(), SQLITE_OK);
	for (int n = 1; n < 200000; n = n * 9 / 8 + 1) {
		char *p = sqlite3_malloc(n);

		cr_assert_not_null(p);
		cr_assert_geq(sqlite3_msize(p), (sqlite3_uint64)n);
		cr_assert_eq(sqlite3_msize(p), bufpool_capacity(p));
		memset(p, 'x', sqlite3_msize(p));
		p = sqlite3_realloc(p, 2 * n);
		cr_assert_not_null(p);
		cr_assert(p[0] == 'x' && p[n - 1] == 'x');
		cr_assert_geq(sqlite3_msize(p), 2 * (sqlite3_uint64)n);
		sqlite3_free(p);
	}
	sqlite3_shutdown();
	t_end();
}

Test(sqlite3, what_it_returns_is_a_block_of_the_pool)
{
	int64_t before;
	char *text;

	t_begin();
	cr_assert_eq(bufpool_sqlite3_install_process(), SQLITE_OK);
	cr_assert_eq(sqlite3_initialize(), SQLITE_OK);
	before = t_out();
	text = sqlite3_mprintf("%d %s", 42, "text");
	cr_assert_str_eq(text, "42 text");
	cr_assert_eq(t_out(), before + 1);
	sqlite3_free(text);
	cr_assert_eq(t_out(), before);
	sqlite3_shutdown();
	t_end();
}

Test(sqlite3, once_started_it_refuses_and_nothing_changes)
{
	void *p;

	t_begin();
	cr_assert_eq(sqlite3_initialize(), SQLITE_OK);
	cr_assert_eq(bufpool_sqlite3_install_process(), SQLITE_MISUSE);
	p = sqlite3_malloc(100);
	cr_assert_not_null(p);
	cr_assert_eq(t_asked(), 0);
	sqlite3_free(p);
	sqlite3_shutdown();
	t_end();
}

Test(sqlite3, every_refusal_is_reported)
{
	struct task task = { ":memory:", 20, NULL };
	struct t_sweep s;

	begin(&task);
	s = t_sweep(run, &task);
	cr_assert_gt(s.asked, 200);
	cr_assert_geq(s.reported, s.asked, "of %zu refused %zu were reported", s.asked, s.reported);
	t_end();
	free(task.expected);
}
