# SPDX-License-Identifier: BSD-2-Clause
"""The input of bench/programs and of tests/preload: JSON, XML and blocks as bench/run writes them, but as much of it
as is asked for; text, SQL and C. The same bytes on every run.
"""
import importlib.util
import os
import random

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'run', 'inputs.py')


def run_inputs(scale):
    spec = importlib.util.spec_from_file_location('run_inputs', RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.JSON_RECORDS, module.XML_RECORDS, module.BLOCKS = 2000 * scale, 2400 * scale, 16 * scale
    return module


def write_text(out, scale):
    for number in range(40_000 * scale):
        out.write(b'%d some words to sort %d\n' % (number * 7919 % 120_011, number % 100))


def write_sql(out, scale):
    """Inserts one by one, an index, sorts, joins, long strings, and a file that is written anew at the end."""
    out.write(b'create table t(a integer primary key, b text, c real);\nbegin;\n')
    for number in range(3000 * scale):
        out.write(b"insert into t values(%d, 'row %d', %d.25);\n" % (number, number * 7919 % 8009, number))
    out.write(b'commit;\ncreate index i on t(b);\n'
              b'select count(*), sum(c), min(b), max(b) from t;\n'
              b"select a, b from t where b like 'row 1%' order by b limit 500;\n"
              b'select x.a, y.b from t x join t y on x.a = y.a + 1 order by y.b desc limit 500;\n'
              b"select group_concat(b, ',') from (select b from t order by a desc limit 2000);\n"
              b"update t set b = b || ' changed' where a % 3 = 0;\ndelete from t where a % 7 = 0;\nvacuum;\n")


def write_c(out, scale):
    """A program with many functions, a few of them large: what a compiler needs memory for."""
    out.write(b'#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n')
    for number in range(40 * scale):
        out.write(b'''
struct item_%(n)d { int id; char name[%(size)d]; struct item_%(n)d *next; };

static int sum_%(n)d(const struct item_%(n)d *item, int factor)
{
	int sum = %(n)d;
	for (; item != NULL; item = item->next) {
		switch ((item->id + factor) %% 7) {
		case 0: sum += item->id * factor; break;
		case 1: sum ^= (int)strlen(item->name); break;
		case 2: sum -= item->name[0]; break;
		case 3: sum = sum << 1 | sum >> 31; break;
		default: sum += factor;
		}
	}
	return sum;
}
''' % {b'n': number, b'size': 16 + number % 50})
    out.write(b'\nint main(void)\n{\n\tint sum = 0;\n')
    for number in range(40 * scale):
        out.write(b'\tstruct item_%d i%d = { %d, "item", NULL };\n\tsum += sum_%d(&i%d, %d);\n'
                  % ((number,) * 5 + (number % 13,)))
    out.write(b'\tprintf("%d\\n", sum);\n\treturn 0;\n}\n')


def write(directory, scale):
    """Scale 1 is small enough for a program that reads one of the files three times over within a second."""
    run = run_inputs(scale)
    os.makedirs(directory)
    for name, writer in (('records.json', run.write_json), ('records.xml', run.write_xml),
                         ('records.bin', run.write_blocks)):
        with open(os.path.join(directory, name), 'wb') as out:
            writer(out, random.Random(name))
    for name, writer in (('words.txt', write_text), ('rows.sql', write_sql), ('items.c', write_c)):
        with open(os.path.join(directory, name), 'wb') as out:
            writer(out, scale)
