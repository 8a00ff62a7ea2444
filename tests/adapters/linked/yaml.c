/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program of libyaml's, which has no allocator hooks: reads a document (JSON is YAML) ten times and writes it as
 * YAML each time. It knows nothing of bufpool; linked.sh links it with and without.
 */
#include <stdio.h>
#include <yaml.h>

static int convert(FILE *in, FILE *out)
{
	yaml_parser_t parser;
	yaml_emitter_t emitter;
	yaml_document_t document;
	int done = 0;

	if (!yaml_parser_initialize(&parser) || !yaml_emitter_initialize(&emitter))
		return 0;
	yaml_parser_set_input_file(&parser, in);
	yaml_emitter_set_output_file(&emitter, out);
	yaml_emitter_set_unicode(&emitter, 1);
	if (yaml_emitter_open(&emitter) && yaml_parser_load(&parser, &document)) {
		/* the style of JSON would be kept */
		for (yaml_node_t *node = document.nodes.start; node < document.nodes.top; node++) {
			if (node->type == YAML_SEQUENCE_NODE)
				node->data.sequence.style = YAML_BLOCK_SEQUENCE_STYLE;
			else if (node->type == YAML_MAPPING_NODE)
				node->data.mapping.style = YAML_BLOCK_MAPPING_STYLE;
		}
		/* The document goes with it. */
		done = yaml_emitter_dump(&emitter, &document) && yaml_emitter_close(&emitter);
	}
	yaml_emitter_delete(&emitter);
	yaml_parser_delete(&parser);
	return done;
}

int main(int argc, char **argv)
{
	for (int i = 0; i < 10; i++) {
		FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;

		if (!in || !convert(in, stdout)) {
			fputs("libyaml: failed\n", stderr);
			return 1;
		}
		fclose(in);
	}
	return 0;
}
