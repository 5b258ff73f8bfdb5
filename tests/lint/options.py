# SPDX-License-Identifier: LGPL-2.1-or-later
"""The options and verbs of --help are those of the man page and of the completions."""

import os
import re
import subprocess

from lint import BUILD, SRC, done, report, skip

VERB = r'[a-z]+(?: [a-z]+(?:-[a-z]+)*)?'
LONG = re.compile(r'(?<![\w-])--[a-z][a-z0-9-]*')


def help_text(program, *words):
    return subprocess.run([program, *words, '--help'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=True).stdout


def defined(text):
    """Options that stand at the beginning of a line of a help text."""
    return {o for line in text.splitlines() if re.match(r'\s+-', line) for o in LONG.findall(line[:30].split('  --')[0] + line[:40])}


def man_page(name):
    for folder in (BUILD / 'man', SRC / 'man'):
        for section in '18':
            p = folder / ('%s.%s' % (name, section))
            if p.exists():
                return p
    return None


def man_tags(path):
    """The tags of a page's tagged paragraphs, as (section, text), of man(7) and of mdoc(7)."""
    tags, section, tag_next = [], '', False
    for line in path.read_text().splitlines():
        plain = re.sub(r'\\f[BIRP]|\\f\[\w*\]', '', line).replace('\\-', '-').replace('\\&', '').replace('"', '')
        m = re.match(r'\.S[Hh]\s+(.*)', plain)
        if m:
            section = m.group(1).strip()
        if re.match(r'\.(TP|TQ)\b', line):
            tag_next = True
        elif line.startswith('.It '):
            tags.append((section, re.sub(r'\bFl ', '-', plain[4:])))
        elif tag_next and not line.startswith('.\\"'):
            macro = re.match(r'\.([BIR]{1,2}|SM)\s+(.*)', plain)
            # .BR alternates fonts and joins its words; .B keeps the blanks between them
            text = plain
            if macro:
                words = re.findall(r'"[^"]*"|\S+', macro.group(2)) if len(macro.group(1)) == 2 else [macro.group(2)]
                raw = re.match(r'\.(\w+)\s+(.*)', line).group(2).replace('\\-', '-').replace('\\&', '')
                raw = re.sub(r'\\f[BIRP]|\\f\[\w*\]', '', raw)
                if len(macro.group(1)) == 2:
                    words = [w.strip('"') for w in re.findall(r'"[^"]*"|\S+', raw)]
                    text = ''.join(words)
                else:
                    text = raw.replace('"', '')
            tags.append((section, text.strip()))
            tag_next = False
    return tags


def compare(name, what, ours, theirs):
    report(name, sorted(['%s has no %s' % (what, o) for o in ours - theirs] + ['%s has %s, which --help has not' % (what, o)
                                                                             for o in theirs - ours]))


for program in ('flowd', 'flowctl'):
    path = os.environ.get(program.upper()) or str(BUILD / program)
    if not os.access(path, os.X_OK):
        skip(program, 'it is not built')
        continue
    text = help_text(path)
    verbs = []
    block = re.search(r'^Verbs:\n((?:.+\n)+)', text, re.M)
    if block:
        # "  pool list [POOL...]     List pools"
        for line in block.group(1).splitlines():
            m = re.match(r'  (%s)\s' % VERB, line + ' ')
            if m:
                verbs.append(re.match(VERB, line.strip().split('  ')[0]).group())
    options = defined(text)
    for verb in verbs:
        options |= defined(help_text(path, *verb.split()))
    report('%s --help has options' % program, [] if options else ['none was found'])

    page = man_page(program)
    if page:
        tags = man_tags(page)
        compare('options of %s: man page' % program, page.name, options,
                {o for _, t in tags if t.startswith('-') for o in LONG.findall(t)})
        if verbs:
            documented = set()
            for section, t in tags:
                m = re.match(VERB, t)
                if m and re.search('verb|command', section, re.I):
                    w = m.group()
                    documented.add(w if w in verbs or w.split()[0] not in verbs else w.split()[0])
            compare('verbs of %s: man page' % program, page.name, set(verbs), documented)
    else:
        report('options of %s: man page' % program, ['there is no man page of %s' % program])

    for shell, file in (('bash', program), ('zsh', '_' + program)):
        p = SRC / 'completions' / shell / file
        if not p.exists():
            report('options of %s: %s' % (program, shell), ['there is no completions/%s/%s' % (shell, file)])
            continue
        code = '\n'.join(line for line in p.read_text().splitlines() if not line.lstrip().startswith('#'))
        compare('options of %s: %s' % (program, shell), p.name, options, set(LONG.findall(code)))
        words = set(re.findall(r'[a-z][a-z0-9-]*', code))
        if verbs:
            report('verbs of %s: %s' % (program, shell), ['%s has no %s' % (p.name, v) for v in verbs if not set(v.split()) <= words])
done()
