# SPDX-License-Identifier: BSD-2-Clause
"""Compilers, whose objects must not depend on the allocator; the driver's children (cc1, as, ld) run under it too."""

TEMPLATES = r'''
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

template <int N> struct chain {
	std::map<std::string, std::vector<std::shared_ptr<chain<N - 1>>>> next;
	std::function<int(int)> f = [](int x) { return x + N; };
	int sum(int x) const { return f(x) + chain<N - 1>().sum(x); }
};

template <> struct chain<0> {
	int sum(int x) const { return x; }
};

int main()
{
	std::unordered_map<std::string, int> count;
	std::istringstream words("some words and some more words");
	for (std::string word; words >> word;)
		count[word]++;
	std::vector<std::pair<std::string, int>> sorted(count.begin(), count.end());
	std::sort(sorted.begin(), sorted.end());
	for (auto &pair : sorted)
		std::cout << pair.first << ' ' << pair.second << '\n';
	std::cout << chain<5>().sum(1) << '\n';
}
'''


def templates(compiler, options):
    return (f"cat > t.cpp <<'END'\n{TEMPLATES}\nEND\n"
            f'{compiler} {options} -c -o t.o t.cpp && {compiler} -o t t.o && ./t')


QUICK = {
    'gcc, an object': 'gcc -O2 -g -Wall -c -o items.o "$IN/items.c"',
    'clang, an object': 'clang -O2 -g -Wall -c -o items.o "$IN/items.c"',
}

LONG = {
    'gcc, assembly and a program':
        'gcc -O3 -S -o items.s "$IN/items.c" && gcc -O1 -pipe -o items "$IN/items.c" && ./items',
    'gcc, errors': 'sed "s/int sum = [0-9]*;/int sun = 1;/" "$IN/items.c" > bad.c; gcc -c bad.c; echo $?',
    'g++, templates': templates('g++', '-O1 -g'),
    'clang, assembly and a program':
        'clang -O3 -S -o items.s "$IN/items.c" && clang -O1 -o items "$IN/items.c" && ./items',
    'clang, analysis and intermediate code':
        'clang --analyze --analyzer-output text "$IN/items.c" 2>&1; clang -emit-llvm -S -o items.ll "$IN/items.c"',
    'clang++, templates': templates('clang++', '-O1 -g'),
}
