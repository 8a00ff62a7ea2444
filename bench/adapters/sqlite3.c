/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SQLite: databases in memory from their making to their end, and statements on one that stays open.
 */
#include "workload.h"

#include <sqlite3.h>

#include <bufpool/adapters/sqlite3.h>

enum { ROWS = 1000 };

static sqlite3 *db;

void bench_install(void)
{
	bench_expect(bufpool_sqlite3_install_process() == SQLITE_OK, "SQLite: the hooks came too late");
}

static void execute(const char *text)
{
	bench_expect(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "SQLite: a statement failed");
}

static void insert(void)
{
	sqlite3_stmt *statement;

	execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, note BLOB); CREATE INDEX by_name ON t (name); BEGIN");
	bench_expect(sqlite3_prepare_v2(db, "INSERT INTO t (name, note) VALUES ('name ' || ?1, zeroblob(?1 % 500))", -1,
					&statement, NULL) == SQLITE_OK, "SQLite: no statement");
	for (int i = 0; i < ROWS; i++) {
		sqlite3_bind_int(statement, 1, i);
		bench_expect(sqlite3_step(statement) == SQLITE_DONE, "SQLite: no row");
		sqlite3_reset(statement);
	}
	sqlite3_finalize(statement);
	execute("COMMIT");
}

static int number(const char *text)
{
	sqlite3_stmt *statement;
	int n = -1;

	bench_expect(sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_OK, "SQLite: no statement");
	if (sqlite3_step(statement) == SQLITE_ROW)
		n = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	return n;
}

static size_t lap_database(void)
{
	bench_expect(sqlite3_open(":memory:", &db) == SQLITE_OK, "SQLite: no database");
	insert();
	bench_expect(number("SELECT sum(length(name)) FROM t") == 7890, "SQLite: a wrong sum");
	sqlite3_close(db);
	return 1;
}

static void prepare_statements(void)
{
	bench_expect(sqlite3_open(":memory:", &db) == SQLITE_OK, "SQLite: no database");
	insert();
}

static size_t lap_statements(void)
{
	for (int i = 0; i < 100; i++)
		bench_expect(number("SELECT count(*) FROM (SELECT name, upper(name) AS u FROM t WHERE id BETWEEN 5 AND 24"
				    " ORDER BY u DESC) WHERE u GLOB 'NAME*'") == 20, "SQLite: a wrong count");
	return 100;
}

const struct bench_workload bench_workloads[] = {
	{ "sqlite3-database", "databases", NULL, lap_database, 0, 0 },
	{ "sqlite3-statements", "statements", prepare_statements, lap_statements, 0, 0 },
	{ 0 },
};
