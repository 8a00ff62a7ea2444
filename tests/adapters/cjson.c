/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cJSON through its hooks, which are the process's: what is compared with is made in the same test before they are set.
 */
#include <cjson/cJSON.h>

#include <bufpool/adapters/cjson.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(cjson, .timeout = 60);

/* From libc's malloc, whatever the hooks are. */
static char *parsed_and_printed(const char *text)
{
	cJSON *tree = cJSON_Parse(text);
	char *printed, *copy;

	cr_assert_not_null(tree);
	printed = cJSON_Print(tree);
	cr_assert_not_null(printed);
	copy = strdup(printed);
	cJSON_free(printed);
	cJSON_Delete(tree);
	return copy;
}

Test(cjson, a_document_comes_out_as_without_hooks)
{
	t_json_same(bufpool_cjson_install_process, parsed_and_printed);
}

Test(cjson, printed_text_is_a_block_of_the_pool)
{
	cJSON *tree;
	char *text;

	t_begin();
	bufpool_cjson_install_process();
	tree = cJSON_Parse(t_json_small);
	cr_assert_gt(t_out(), 10);
	text = cJSON_PrintUnformatted(tree);
	cr_assert_str_eq(text, "{\"name\":\"a name with \xc3\xa9 and \\\"quotes\\\"\",\"numbers\":[0,-1,2.5,1e+30],"
			       "\"nested\":{\"empty\":{},\"list\":[[],[null,true,false]],\"text\":\"\"}}");
	bufpool_release(text);
	cJSON_Delete(tree);
	t_end();
}

/* NULL where cJSON says that it failed. */
static cJSON *built(void)
{
	cJSON *object = cJSON_CreateObject(), *array;

	if (!object || !cJSON_AddStringToObject(object, "text", "value") || !cJSON_AddNumberToObject(object, "n", 3))
		goto failed;
	array = cJSON_AddArrayToObject(object, "array");
	for (int i = 0; array && i < 3; i++) {
		cJSON *number = cJSON_CreateNumber(i);

		if (!number)
			goto failed;
		cJSON_AddItemToArray(array, number);
	}
	if (array)
		return object;
failed:
	cJSON_Delete(object);
	return NULL;
}

static enum t_outcome build(void *unused)
{
	enum t_outcome outcome = T_REPORTED;
	cJSON *object = built(), *copy = object ? cJSON_Duplicate(object, true) : NULL;

	(void)unused;
	if (copy) {
		cr_assert(cJSON_Compare(object, copy, true));
		cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(copy, "array")), 3);
		outcome = T_DONE;
	}
	cJSON_Delete(copy);
	cJSON_Delete(object);
	return outcome;
}

static enum t_outcome parse_and_print(void *expected)
{
	cJSON *tree = cJSON_Parse(t_json_small);
	char *text = tree ? cJSON_Print(tree) : NULL;

	if (text)
		cr_assert_str_eq(text, expected);
	cJSON_Delete(tree);
	cJSON_free(text);
	return text ? T_DONE : T_REPORTED;
}

Test(cjson, every_refusal_is_reported)
{
	char *expected = parsed_and_printed(t_json_small);
	struct t_sweep s;

	t_begin();
	bufpool_cjson_install_process();
	s = t_sweep(parse_and_print, expected);
	cr_assert_gt(s.asked, 20);
	cr_assert_eq(s.reported, 2 * s.asked);
	s = t_sweep(build, NULL);
	cr_assert_eq(s.reported, 2 * s.asked);
	t_end();
	free(expected);
}
