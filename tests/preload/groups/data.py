# SPDX-License-Identifier: BSD-2-Clause
"""Programs that parse data and keep it in memory: many small blocks, released one by one or in trees."""

SHEET = '''<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:key name="stock" match="item" use="@stock"/>
<xsl:template match="/"><out><xsl:for-each select="//item"><xsl:sort select="name"/><xsl:copy-of select="name"/>
<n><xsl:value-of select="count(key('stock', @stock))"/></n></xsl:for-each></out></xsl:template></xsl:stylesheet>'''

QUICK = {
    'jq, grouping and sorting':
        "jq -S 'group_by(.address.city) | map({city: .[0].address.city, n: length, p: (map(.price) | add)})' "
        '"$IN/records.json"',
    'xmllint, formatting': 'xmllint --format "$IN/records.xml"',
    'sqlite3, a database in a file': 'sqlite3 rows.db < "$IN/rows.sql"',
}

LONG = {
    'jq, streaming': 'jq -c --stream "select(length == 2)" "$IN/records.json"',
    'jq, regular expressions and long strings':
        "jq -r '[.[:1000][].notes | gsub(\"[aeiou]\"; \"-\") | ascii_upcase] | join(\"+\") | ., length' "
        '"$IN/records.json"',
    'jq, an error': 'jq ".[] | .name + .price" "$IN/records.json"; echo $?; '
                    'head -c 70000 "$IN/records.json" | jq .; echo $?',
    'xmllint, XPath': "xmllint --xpath '//item[@stock > 300]/name/text()' \"$IN/records.xml\"",
    'xmllint, reader, patterns, copy':
        'xmllint --stream --debug "$IN/records.xml" | cksum; xmllint --copy --c14n "$IN/records.xml"',
    'xmllint, as HTML, with errors': 'xmllint --html "$IN/records.xml" 2> errors; wc -l < errors',
    'xsltproc, sorting and keys': f"cat > t.xsl <<'END'\n{SHEET}\nEND\nxsltproc t.xsl \"$IN/records.xml\"",
    'sqlite3, in memory': 'sqlite3 :memory: < "$IN/rows.sql"',
    'sqlite3, dump and restore':
        'sqlite3 a.db < "$IN/rows.sql" && sqlite3 a.db .dump > dump.sql && sqlite3 b.db < dump.sql && '
        'sqlite3 b.db "pragma integrity_check" && sqlite3 b.db .dump | cmp - dump.sql',
}
