#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A jsonl worker: the payload is a source file's text, the result is what can be said about it without understanding it.

    {"bytes": 812, "lines": 31, "blank": 4, "comments": 6, "code": 21, "longest": 79, "language": "c", "functions": ["main"],
     "includes": ["stdio.h"], "todo": 1, "indent": "tabs", "crc32": 2774289532}

A line counts once: blank, comment (nothing but comment on it), or code. The language is guessed from the text alone; where there is no
good guess it is "text". crc32 is of the payload's bytes. Lists end after 200 names. One job a line in, one answer a line out.
"""

import base64
import json
import re
import sys
import zlib

LIST_MAX = 200      # names in a list
LINE_LOOK = 300     # characters of a line that the patterns look at, so that minified files cost no more than others

# Guesses: patterns and what each counts for a language. They are looked for in the first LOOK lines.
LOOK = 400
HINTS = [(lang, re.compile(pattern), weight) for lang, pattern, weight in (
    ('shell', r'^#!.*\b(?:ba|da|k|z)?sh\b', 20),
    ('python', r'^#!.*\bpython', 20),
    ('perl', r'^#!.*\bperl\b', 20),
    ('javascript', r'^#!.*\bnode\b', 20),
    ('make', r'^#!.*\bmake\b', 20),
    ('c', r'^\s*#\s*(?:include\s*[<"]|ifn?def\b|define\b|pragma\b|endif\b)', 2),
    ('c', r'^(?:typedef|struct|static|extern|enum|union)\b.*[;{(]?$', 1),
    ('c++', r'^\s*(?:namespace\b|template\s*<|using\s+namespace\b|class\s+\w+[^:]*[{;:]|(?:public|private|protected):)', 3),
    ('c++', r'\bstd::\w', 3),
    ('python', r'^\s*(?:def|class)\s+\w+.*:\s*(?:#.*)?$', 2),
    ('python', r'^(?:from\s+[\w.]+\s+)?import\s+[\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*\w+)*\s*$', 2),
    ('javascript', r'\b(?:const|let|var)\s+[\w{\[].*=|=>\s*[{(]|\brequire\(|^\s*export\s', 1),
    ('perl', r'^\s*(?:use\s+(?:strict|warnings)\b|my\s+[$@%]|sub\s+\w+)', 3),
    ('shell', r'^\s*(?:fi|done|esac|then)\s*$|^\s*(?:if|while)\s+\[|\bset -eu?\b', 2),
    ('make', r'^[\w./$()% -]+:(?!=)(?:\s|$)|^\t(?:@|\$\()|^[A-Z_]+\s*[:+?]?=', 1),
    ('html', r'<(?:!DOCTYPE html|html|head|body|div)\b', 4),
    ('xml', r'^\s*<\?xml\b', 20),
    ('rust', r'^\s*(?:pub\s+)?fn\s+\w+|^\s*(?:use\s+\w+::|impl\b|let\s+mut\b)', 3),
    ('go', r'^(?:package\s+\w+\s*$|func\s+[\w(])', 4),
    ('java', r'^\s*(?:public\s+(?:final\s+)?class\b|import\s+java|package\s+[\w.]+;)', 4),
    ('roff', r'^(?:\.TH\s|\.SH\s|\.Dd\s|\'\\")', 5),
    ('m4', r'^\s*(?:AC_|AM_|m4_|dnl\b)', 4),
    ('sql', r'(?i)^\s*(?:create\s+table|insert\s+into|select\s.+\sfrom)\b', 3),
)]

LINE_COMMENT = {'python': '#', 'shell': '#', 'perl': '#', 'make': '#', 'm4': 'dnl', 'sql': '--', 'roff': '.\\"',
                'c': '//', 'c++': '//', 'javascript': '//', 'rust': '//', 'go': '//', 'java': '//'}
BLOCK_COMMENT = {**{k: ('/*', '*/') for k in ('c', 'c++', 'javascript', 'rust', 'go', 'java')},
                 'html': ('<!--', '-->'), 'xml': ('<!--', '-->')}

NOT_FUNCTIONS = {'if', 'for', 'while', 'switch', 'return', 'sizeof', 'else', 'do', 'catch', 'defined', 'case'}
C_FUNCTION = re.compile(r'^[A-Za-z_][\w\s*:<>,&~]{0,200}?\b([A-Za-z_]\w*)\s*\([^;]*$')
FUNCTION = {
    'c': C_FUNCTION, 'c++': C_FUNCTION,
    'java': re.compile(r'^\s+(?:(?:public|private|protected|static|final)\s+)+[\w<>\[\], ]+?\b(\w+)\s*\([^;]*$'),
    'python': re.compile(r'^\s*(?:async\s+)?def\s+(\w+)'),
    'shell': re.compile(r'^\s*(?:function\s+)?([\w-]+)\s*\(\)'),
    'perl': re.compile(r'^\s*sub\s+(\w+)'),
    'javascript': re.compile(r'^\s*(?:export\s+)?(?:default\s+)?(?:async\s+)?function\s*\*?\s*(\w+)|^\s*(?:const|let|var)\s+(\w+)\s*=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>'),
    'rust': re.compile(r'^\s*(?:pub(?:\([^)]*\))?\s+)?(?:async\s+)?(?:unsafe\s+)?fn\s+(\w+)'),
    'go': re.compile(r'^func\s+(?:\([^)]*\)\s*)?(\w+)'),
}
C_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
PY_INCLUDE = re.compile(r'^\s*(?:from\s+([\w.]+)\s+import\b|import\s+([\w.]+))')
INCLUDE = {
    'c': C_INCLUDE, 'c++': C_INCLUDE, 'python': PY_INCLUDE,
    'java': re.compile(r'^\s*import\s+(?:static\s+)?([\w.*]+);'),
    'javascript': re.compile(r'''\brequire\(\s*['"]([^'"]+)['"]\s*\)|^\s*import\b.*?['"]([^'"]+)['"]'''),
    'perl': re.compile(r'^\s*(?:use|require)\s+([A-Za-z][\w:]*)'),
    'rust': re.compile(r'^\s*(?:pub\s+)?use\s+([\w:]+)'),
    'shell': re.compile(r'^\s*(?:\.|source)\s+(\S+)'),
    'make': re.compile(r'^-?include\s+(\S+)'),
    'roff': re.compile(r'^\.so\s+(\S+)'),
}
TODO = re.compile(r'\b(?:TODO|FIXME|XXX)\b')


def guess(lines):
    score = {}
    for line in lines[:LOOK]:
        line = line[:LINE_LOOK]
        for lang, pattern, weight in HINTS:
            if pattern.search(line):
                score[lang] = score.get(lang, 0) + weight
    if 'c++' in score and score['c++'] >= 6:
        score['c++'] += score.get('c', 0)
    best = max(score, key=score.get, default='text')
    return best if score.get(best, 0) >= 3 else 'text'


def count(lines, language):
    """How many lines are blank, and how many are nothing but comment."""
    start = LINE_COMMENT.get(language)
    opening, closing = BLOCK_COMMENT.get(language, (None, None))
    blank = comments = 0
    inside = False
    for line in lines:
        s = line.strip()
        if not s:
            blank += 1
        elif inside:
            end = s.find(closing)
            inside = end < 0
            comments += inside or end + len(closing) == len(s)
        elif start and s.startswith(start):
            comments += 1
        elif opening and s.startswith(opening):
            end = s.find(closing, len(opening))
            inside = end < 0
            comments += inside or end + len(closing) == len(s)
        elif opening and opening in s:
            inside = s.rfind(closing) < s.rfind(opening)
    return blank, comments


def names(lines, pattern):
    found = {}
    for line in lines if pattern else ():
        m = pattern.search(line[:LINE_LOOK])
        if m:
            name = next((g for g in m.groups() if g), None)
            if name and name not in NOT_FUNCTIONS:
                found[name] = None
                if len(found) == LIST_MAX:
                    break
    return list(found)


def facts(data):
    text = data.decode(errors='replace')
    lines = text.split('\n')
    if lines[-1] == '':
        lines.pop()
    language = guess(lines)
    blank, comments = count(lines, language)
    tabs = sum(line.startswith('\t') for line in lines)
    spaces = sum(line.startswith('  ') for line in lines)
    return {'bytes': len(data), 'lines': len(lines), 'blank': blank, 'comments': comments, 'code': len(lines) - blank - comments,
            'longest': max(map(len, lines), default=0), 'language': language,
            'functions': names(lines, FUNCTION.get(language)), 'includes': names(lines, INCLUDE.get(language)),
            'todo': len(TODO.findall(text)), 'indent': 'tabs' if tabs > spaces else 'spaces' if spaces else 'none',
            'crc32': zlib.crc32(data)}


def payload_bytes(payload):
    """A text payload is its UTF-8, bytes are {"base64": ...}, other JSON is its own text."""
    if isinstance(payload, str):
        return payload.encode(errors='surrogatepass')
    if isinstance(payload, dict) and set(payload) == {'base64'}:
        return base64.b64decode(payload['base64'], validate=True)
    return json.dumps(payload).encode()


def answer(job):
    try:
        return {'job': job['job'], 'result': facts(payload_bytes(job.get('payload', '')))}
    except Exception as e:  # one bad payload must not end the worker
        return {'job': job['job'], 'error': {'message': '%s: %s' % (type(e).__name__, e), 'retry': False}}


def main():
    for line in sys.stdin.buffer:
        job = json.loads(line)
        if 'job' in job:  # else {"cancel": ...}, for which each answer here comes too soon anyway
            sys.stdout.write(json.dumps(answer(job), separators=(',', ':')) + '\n')
            sys.stdout.flush()


if __name__ == '__main__':
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
