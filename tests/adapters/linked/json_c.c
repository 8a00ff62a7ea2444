/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program of json-c's, which has no allocator hooks: reads a document, copies it, changes it a little, prints it.
 * It knows nothing of bufpool; linked.sh links it with and without.
 */
#include <json-c/json.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct json_object *value = argc == 2 ? json_object_from_file(argv[1]) : NULL, *copy = NULL, *all;

	if (!value || json_object_deep_copy(value, &copy, NULL)) {
		fprintf(stderr, "json-c: %s\n", json_util_get_last_err());
		return 1;
	}
	all = json_object_new_object();
	json_object_object_add(all, "document", value);
	json_object_object_add(all, "copy", copy);
	json_object_object_add(all, "equal", json_object_new_boolean(json_object_equal(value, copy)));
	for (int i = 0; i < 10; i++) {
		const char *text = json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY);
		struct json_object *again = json_tokener_parse(text);

		if (!again || !json_object_equal(again, all))
			return 1;
		json_object_put(all);
		all = again;
	}
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
	return 0;
}
