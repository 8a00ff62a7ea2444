# SPDX-License-Identifier: BSD-2-Clause
"""Medians, ratios and bars of what was measured; the table and the plot."""
import statistics

import subjects

FIGURES = {'cpu': 'CPU time', 'instructions': 'instructions', 'peak': 'peak memory', 'final': 'final memory',
           'faults': 'page faults'}
FINE = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 2)    # ticks of a narrow panel; a wide one has powers of two
GROWING = ('xmllint', 'jq', 'git-log', 'git-gc')


def failure(runs, name, allocator):
    """What went wrong: a run that failed, or that printed something else than the first run on glibc."""
    rows = runs[name, allocator]
    ended_badly = [run.failure for run in rows if run.failure]
    if ended_badly:
        return ended_badly[0]
    return 'other output' if any(run.output != runs[name, 'glibc'][0].output for run in rows) else ''


def median(runs, name, allocator, figure):
    values = [getattr(run, figure) for run in runs[name, allocator]]
    return None if None in values else statistics.median(values)


def ratio(runs, name, ours, theirs, figure):
    """The median of the rounds' ratios."""
    pairs = [(getattr(a, figure), getattr(b, figure)) for a, b in zip(runs[name, ours], runs[name, theirs])]
    return None if any(None in pair or pair[1] == 0 for pair in pairs) else statistics.median(a / b for a, b in pairs)


def bars(name):
    """(figure, against, at most), as the project set them."""
    cpu = 0.2 if name == 'python-loop' else 0.9 if name in GROWING else 1.02
    out = [('instructions', 'jemalloc', 1.01), ('cpu', 'jemalloc', cpu)]
    return out + [('cpu', 'best peer', 1.15)] if name in GROWING else out


def best_peer(runs, name, peers):
    sound = [peer for peer in peers if (name, peer) in runs and not failure(runs, name, peer)]
    return min(sound, key=lambda peer: median(runs, name, peer, 'cpu')) if sound else None


def results(runs, names, allocators, peers):
    out = []
    for name in names:
        wrong = {a: failure(runs, name, a) for a in allocators}
        best = best_peer(runs, name, peers)
        entry = {'program': name, 'what': subjects.SUBJECTS[name].what, 'best_peer': best, 'bars': [], 'failures': {},
                 'allocators': {}}
        for allocator in allocators:
            if wrong[allocator]:
                entry['failures'][allocator] = wrong[allocator]
                continue
            entry['allocators'][allocator] = {
                figure: {'median': median(runs, name, allocator, figure),
                         'to_jemalloc': None if wrong.get('jemalloc', 'absent')
                         else ratio(runs, name, allocator, 'jemalloc', figure),
                         'samples': [getattr(run, figure) for run in runs[name, allocator]]} for figure in FIGURES}
        if 'bufpool' in entry['allocators']:
            verdicts(entry, runs, name, best, wrong)
        out.append(entry)
    return out


def verdicts(entry, runs, name, best, wrong):
    for figure, against, bar in bars(name):
        other = best if against == 'best peer' else against
        known = other is not None and not wrong.get(other, 'absent')
        value = ratio(runs, name, 'bufpool', other, figure) if known else None
        entry['bars'].append({'what': f'{FIGURES[figure]} to {against}', 'ratio': value, 'bar': bar,
                              'met': None if value is None else value <= bar})
    if not wrong.get('jemalloc', 'absent'):
        ours, theirs = (median(runs, name, a, 'peak') for a in ('bufpool', 'jemalloc'))
        entry['bars'].append({'what': 'peak memory to 1.1 x jemalloc + 2 MB', 'ratio': ours / (1.1 * theirs + 2),
                              'bar': 1.0, 'met': ours <= 1.1 * theirs + 2})


def shown(value, form):
    return 'n/a' if value is None else format(value, form)


def print_entry(entry):
    print(f'\n{entry["program"]}: {entry["what"]}')
    print(f'  {"":22}{"CPU time":>10}{"x":>7}{"instr.":>10}{"x":>7}{"peak MB":>10}{"x":>7}{"final MB":>10}{"x":>7}'
          f'{"faults":>10}{"x":>7}')
    for allocator, figures in entry['allocators'].items():
        text = f'  {allocator:22}'
        for figure, form in zip(FIGURES, ('.3f', '.3g', '.1f', '.1f', '.0f')):
            text += f'{shown(figures[figure]["median"], form):>10}{shown(figures[figure]["to_jemalloc"], ".2f"):>7}'
        print(text)
    for allocator, why in entry['failures'].items():
        print(f'  {allocator:22}  FAILED: {why}')
    for bar in entry['bars']:
        verdict = 'n/a' if bar['met'] is None else 'met' if bar['met'] else 'NOT MET'
        against = f' ({entry["best_peer"]})' if bar['what'].endswith('best peer') else ''
        print(f'    {bar["what"] + against:50}{shown(bar["ratio"], ".3f"):>8} <= {bar["bar"]:<5g} {verdict}')


def dress(panel, names, title):
    panel.axvline(1, color='black', linewidth=0.8)
    panel.set_xscale('log', base=2)
    low, high = panel.get_xlim()
    panel.set_xlim(min(low, 0.85), max(high, 1.18))
    if low > 0.4 and high < 2.5:
        panel.set_xticks([tick for tick in FINE if low <= tick <= high] or [1])
    panel.xaxis.set_major_formatter(lambda x, _: format(x, '.2g'))
    panel.minorticks_off()
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_title(title)
    panel.grid(alpha=0.3)


def plot(entries, path):
    """Ratios to jemalloc, one panel a figure, one row a program."""
    import matplotlib
    matplotlib.use('Agg')
    matplotlib.rcParams['svg.hashsalt'] = 'bufpool'    # the same figures make the same file
    from matplotlib import pyplot

    names = [entry['program'] for entry in entries]
    allocators = list(dict.fromkeys(a for entry in entries for a in entry['allocators'] if a != 'jemalloc'))
    markers = dict(zip(allocators, 'svDP^X*'))
    figures = [f for f in FIGURES if any(a[f]['to_jemalloc'] for e in entries for a in e['allocators'].values())]
    if not figures:
        raise LookupError('without jemalloc there are no ratios to plot')
    plane, panels = pyplot.subplots(1, len(figures), sharey=True, squeeze=False,
                                    figsize=(4 * len(figures), 1.6 + 0.42 * len(names)))
    for panel, figure in zip(panels[0], figures):
        for allocator in allocators:
            points = [(e['allocators'][allocator][figure]['to_jemalloc'], y) for y, e in enumerate(entries)
                      if allocator in e['allocators'] and e['allocators'][allocator][figure]['to_jemalloc']]
            panel.plot([x for x, _ in points], [y for _, y in points], markers[allocator], label=allocator, alpha=0.8,
                       markersize=11 if allocator == 'bufpool' else 6, linestyle='none')
        dress(panel, names, f'{FIGURES[figure]}, jemalloc = 1')
    plane.tight_layout(rect=(0, 0, 1, 1 - 0.4 / plane.get_figheight()))
    plane.legend(*panels[0][0].get_legend_handles_labels(), loc='upper center', ncols=len(allocators), frameon=False)
    plane.savefig(path, format='svg', metadata={'Date': None})
