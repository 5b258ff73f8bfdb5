# SPDX-License-Identifier: LGPL-2.1-or-later
"""Of flowtest: clients of the two sockets, written from the descriptions of the formats and not from libflow: Varlink and frames."""

import array
import collections
import fcntl
import json
import os
import select
import socket
import struct
import time

from flowtest_kit import *
from flowtest_kit import _short

# ---------------------------------------------------------------------------------------------------------------------
# Varlink

class ControlError(Exception):
    def __init__(self, name, parameters):
        super().__init__('%s %s' % (name, json.dumps(parameters)))
        self.name, self.parameters = name.rpartition('.')[2], parameters
        self.message = parameters.get('message', '')


class Control:
    """A Varlink connection. call() takes a method's name without io.flowd., or a whole one."""

    def __init__(self, path, timeout=20):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.s.settimeout(timeout and timeout * SLOW)
        try:
            self.s.connect(path)
        except OSError:
            self.s.close()
            raise
        self.buf = bytearray()

    def send(self, method, /, more=False, oneway=False, **parameters):
        m = {'method': method if '.' in method else 'io.flowd.' + method, 'parameters': parameters}
        if more:
            m['more'] = True
        if oneway:
            m['oneway'] = True
        self.s.sendall(json.dumps(m).encode() + b'\0')

    def recv(self):
        """The next message, as it is; EOFError where flowd has closed the connection."""
        at = 0
        while True:
            end = self.buf.find(b'\0', at)
            if end >= 0:
                m = bytes(self.buf[:end])
                del self.buf[:end + 1]
                return json.loads(m)
            at = len(self.buf)
            data = self.s.recv(256 * KiB)
            if not data:
                raise EOFError('flowd closed the control connection')
            self.buf += data

    def answer(self):
        m = self.recv()
        if 'error' in m:
            raise ControlError(m['error'], m.get('parameters') or {})
        return m.get('parameters') or {}

    def call(self, method, /, **parameters):
        self.send(method, **parameters)
        return self.answer()

    def stream(self, method, /, **parameters):
        """Yields each answer of a call with "more"."""
        self.send(method, more=True, **parameters)
        while True:
            m = self.recv()
            if 'error' in m:
                raise ControlError(m['error'], m.get('parameters') or {})
            yield m.get('parameters') or {}
            if not m.get('continues'):
                return

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refused(error, fn, *args, **keys):
    """fn must raise the ControlError of that name, which is returned."""
    try:
        fn(*args, **keys)
    except ControlError as e:
        equal(e.name, error)
        return e
    fail('%s was expected, and nothing was refused' % error)


# ---------------------------------------------------------------------------------------------------------------------
# frames

HEADER = struct.Struct('<IIBBBBIQ')
HELLO, JOB, ACCEPTED, PROGRESS, RESULT, LOG, CANCEL, PING, PONG, WAIT, ERROR = range(1, 12)
FLAG_MEMFD = 1
FEATURE_MEMFD = 1
MEMFD_MIN = 128 * KiB
TEXT, JSON, BYTES = range(3)
COMPLETED, FAILED, TIMEOUT, CANCELLED, REFUSED = range(5)
STATUS = ['completed', 'failed', 'timeout', 'cancelled', 'refused']

_TAGS = {
    'version': (1, 'I'), 'features': (2, 'I'), 'frame_max': (3, 'I'), 'slots': (4, 'I'), 'heartbeat': (5, 'Q'), 'size': (6, 'Q'),
    'method': (16, 's'), 'pool': (17, 's'), 'tier': (18, 's'), 'session': (19, 's'), 'key': (20, 's'), 'deadline': (21, 'Q'),
    'timeout': (22, 'Q'), 'priority': (23, 'i'), 'kind': (24, 'B'), 'durable': (25, 'B'), 'trace': (26, 's'), 'detached': (27, 'B'),
    'job_id': (28, 's'), 'not_before': (29, 'Q'), 'retries': (30, 'I'), 'retry_delay': (31, 'Q'),
    'status': (32, 'B'), 'error': (33, 's'), 'retry': (34, 'B'), 'fraction': (35, 'I'), 'level': (36, 'B'),
    'code': (37, 's'), 'worker': (38, 's'), 'run_usec': (39, 'Q'), 'wait_usec': (40, 'Q'), 'attempts': (41, 'I'),
    'duplicate': (42, 'B'), 'offset': (43, 'Q'), 'length': (44, 'Q'), 'size_all': (45, 'Q'),
    'worker_type': (52, 's'), 'strategy': (53, 's'), 'weight': (54, 'I'), 'fallback': (55, 's'), 'ran_tier': (56, 's'),
}
_NAMES = {tag: (name, form) for name, (tag, form) in _TAGS.items()}


def meta(**items):
    out = bytearray()
    for name, v in items.items():
        if v is None:
            continue
        tag, form = _TAGS[name]
        b = (v if isinstance(v, bytes) else v.encode()) if form == 's' else struct.pack('<' + form, v)
        out += struct.pack('<HH', tag, len(b)) + b
    return bytes(out)


def frame(type_, payload=b'', job=0, attempt=0, flags=0, fds=0, **items):
    """The bytes of one frame."""
    m = meta(**items)
    return HEADER.pack(len(m) + len(payload), len(m), type_, flags, fds, 0, attempt, job) + m + payload


def parse_meta(b):
    r, at = {}, 0
    while at < len(b):
        tag, size = struct.unpack_from('<HH', b, at)
        at += 4
        v = bytes(b[at:at + size])
        at += size
        name, form = _NAMES.get(tag, (tag, 'x'))
        r[name] = v.decode() if form == 's' else v if form == 'x' else struct.unpack('<' + form, v)[0]
    return r


def sealed_memfd(payload):
    fd = os.memfd_create('flowtest', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(payload)
    while view:
        view = view[os.write(fd, view):]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


class Frame:
    """A frame that was received; the items of its metadata are attributes, None where absent."""

    def __init__(self, type_, job, attempt, items, payload, memfd):
        self.type, self.job, self.attempt, self.items, self.payload, self.memfd = type_, job, attempt, items, payload, memfd

    def __getattr__(self, name):
        if name in _TAGS:
            return self.items.get(name)
        raise AttributeError(name)

    @property
    def outcome(self):
        return STATUS[self.status]

    def __repr__(self):
        return 'Frame(type=%d job=%d %r %d bytes)' % (self.type, self.job, self.items, len(self.payload))


class Jobs:
    """A client of the jobs socket. submit() returns the client's id of a job; result(id) waits for its end."""

    def __init__(self, path, memfd=True, timeout=20, hello=True, frame_max=65 * MiB):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.timeout = timeout * SLOW
        self.s.settimeout(self.timeout)
        try:
            self.s.connect(path)
        except OSError:
            self.s.close()
            raise
        self.memfd = memfd
        self.next = 1
        self.buf, self.fds = bytearray(), collections.deque()
        self.accepted, self.results = {}, {}
        self.progress, self.logs = collections.defaultdict(list), collections.defaultdict(list)
        self.order = []           # ids in the order in which their results came
        self.hello, self.error, self.eof, self.pongs = None, None, False, 0
        self.s.setblocking(False)
        if hello:
            self.send(frame(HELLO, version=1, features=FEATURE_MEMFD if memfd else 0, frame_max=frame_max))
            self.until(lambda: self.hello or self.eof, what="flowd's HELLO")

    # bytes

    def _read(self):
        try:
            data, anc, flags, _ = self.s.recvmsg(1 * MiB, socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            self.eof = True
            return
        for level, kind, b in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                a = array.array('i')
                a.frombytes(b[:len(b) - len(b) % a.itemsize])
                self.fds.extend(a)
        check(not flags & socket.MSG_CTRUNC, 'descriptors were cut off')
        if not data:
            self.eof = True
        self.buf += data
        while self._parse():
            pass

    def _parse(self):
        if len(self.buf) < HEADER.size:
            return False
        body, msize, type_, flags, nfds, _, attempt, job = HEADER.unpack_from(self.buf)
        if len(self.buf) < HEADER.size + body:
            return False
        items = parse_meta(memoryview(self.buf)[HEADER.size:HEADER.size + msize])
        payload = bytes(memoryview(self.buf)[HEADER.size + msize:HEADER.size + body])
        del self.buf[:HEADER.size + body]
        if flags & FLAG_MEMFD:
            check(self.memfd, 'a memfd came that was not negotiated')
            fd = self.fds.popleft()
            try:
                size = os.fstat(fd).st_size
                equal(size, items['size'], 'size of a memfd:')
                seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
                need = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
                equal(seals & need, need, 'seals of a memfd:')
                payload = _pread_all(fd, size)
            finally:
                os.close(fd)
        self._frame(Frame(type_, job, attempt, items, payload, bool(flags & FLAG_MEMFD)))
        return True

    def _frame(self, f):
        if f.type == HELLO:
            self.hello = f
        elif f.type == ACCEPTED:
            self.accepted[f.job] = f.job_id
        elif f.type == PROGRESS:
            self.progress[f.job].append(f)
        elif f.type == LOG:
            self.logs[f.job].append(f)
        elif f.type == RESULT:
            check(f.job not in self.results, 'a second RESULT for job', f.job)
            self.results[f.job] = f
            self.order.append(f.job)
        elif f.type == PING:
            self.send(frame(PONG, job=f.job))
        elif f.type == PONG:
            self.pongs += 1
        elif f.type == ERROR:
            self.error = f
        else:
            fail('an unexpected frame', f)

    def send(self, data, fds=()):
        """Sends everything, reading meanwhile, so that neither side waits for the other for ever."""
        view, end = memoryview(data), time.monotonic() + self.timeout
        while view:
            left = end - time.monotonic()
            if left <= 0:
                fail('flowd did not read a frame within %g s' % self.timeout)
            r, w, _ = select.select([] if self.eof else [self.s], [self.s], [], left)
            if r:
                self._read()
            if w:
                try:
                    n = socket.send_fds(self.s, [view[:4 * MiB]], list(fds)) if fds else self.s.send(view[:4 * MiB])
                except BlockingIOError:
                    continue
                fds = ()
                view = view[n:]

    def pump(self, timeout=0.0):
        """Reads what is there, waiting for something at most `timeout` seconds."""
        if not self.eof and select.select([self.s], [], [], timeout)[0]:
            self._read()

    def until(self, cond, timeout=None, what='a frame'):
        limit = self.timeout if timeout is None else timeout * SLOW
        end = time.monotonic() + limit
        while not cond():
            left = end - time.monotonic()
            if left <= 0:
                fail('waited %g s in vain for %s' % (limit, what))
            if self.eof:
                fail('flowd closed the jobs connection while we waited for %s%s' %
                     (what, ': ' + str(self.error.items.get('error')) if self.error else ''))
            self.pump(left)

    # jobs

    def submit(self, pool=None, payload=b'', method=None, kind=BYTES, inline=False, **items):
        id, self.next = self.next, self.next + 1
        if isinstance(payload, str):
            payload, kind = payload.encode(), TEXT if kind == BYTES else kind
        if self.memfd and not inline and len(payload) >= MEMFD_MIN:
            fd = sealed_memfd(payload)
            try:
                self.send(frame(JOB, job=id, flags=FLAG_MEMFD, fds=1, pool=pool, method=method, kind=kind, size=len(payload), **items),
                          [fd])
            finally:
                os.close(fd)
        else:
            self.send(frame(JOB, payload, job=id, pool=pool, method=method, kind=kind, **items))
        return id

    def job_id(self, id, timeout=None):
        """flowd's id of a job, once it is accepted (a refused one fails the test)."""
        self.until(lambda: id in self.accepted or id in self.results, timeout, 'ACCEPTED of job %d' % id)
        if id not in self.accepted:
            fail('job was refused:', self.results[id])
        return self.accepted[id]

    def result(self, id, timeout=None):
        self.until(lambda: id in self.results, timeout, 'the RESULT of job %d' % id)
        return self.results[id]

    def run(self, pool=None, payload=b'', method=None, kind=BYTES, wait=None, **items):
        return self.result(self.submit(pool, payload, method, kind, **items), wait)

    def cancel(self, id):
        self.send(frame(CANCEL, job=id))

    def wait(self, job_id):
        """Asks for the result of a detached job; returns the id under which it will come."""
        id, self.next = self.next, self.next + 1
        self.send(frame(WAIT, job=id, job_id=job_id))
        return id

    def ping(self, timeout=None):
        n = self.pongs
        self.send(frame(PING))
        self.until(lambda: self.pongs > n, timeout, 'PONG')

    def close(self):
        self.s.close()
        while self.fds:
            os.close(self.fds.popleft())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _pread_all(fd, size):
    parts, at = [], 0
    while at < size:
        b = os.pread(fd, min(16 * MiB, size - at), at)
        check(b, 'a memfd is shorter than it says')
        parts.append(b)
        at += len(b)
    return b''.join(parts)


def completed(r, payload=None):
    """The job must have completed, with that payload if one is given; returns the result."""
    if r.outcome != 'completed':
        fail('the job is %s: %s %s' % (r.outcome, r.code, r.error))
    if payload is not None and r.payload != payload:
        fail('result differs: %d bytes, expected %d: %s' % (len(r.payload), len(payload), _short(r.payload[:200])))
    return r


def ended(r, outcome, *parts, code=None):
    """The job must have ended like that, with the parts in its error; returns the result."""
    equal(r.outcome, outcome, 'outcome (code %s, error %s):' % (r.code, r.error))
    for p in parts:
        contains((r.error or '').lower(), p.lower())
    if code:
        equal(r.code, code, 'code:')
    return r


__all__ = [n for n in dir() if not n.startswith('_')]
