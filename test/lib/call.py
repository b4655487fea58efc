# Speaks the call interface (channel/call.h) record by record: what uvguest never sends is sent from here.
import array, os, socket, struct, sys
SIZE = 512
VERB = {"HELLO": 1, "VIEW": 2, "READY": 3, "STATUS": 4, "OPEN": 5, "RELEASE": 6, "STOP": 33, "RESIZE": 34, "PATH": 35, "TIME": 36, "SELFTEST": 37}
CODE = ["OK", "LATER", "REFUSED", "FAILED", "BAD_RECORD", "UNKNOWN", "WRONG_WAY", "BAD_VALUE", "BAD_FDS", "NOT_THERE", "BUSY", "TOO_MANY", "NO_FDS", "BROKEN"]

def record(verb, values=(), text=b"", number=7, answer=0, code=0, magic=0x31435655):
    v = list(values) + [0] * (4 - len(values))
    return struct.pack("<IHHII4Q464s", magic, verb, answer, number, code, *v, text)

def parse(data):
    magic, verb, answer, number, code, a, b, c, d, text = struct.unpack("<IHHII4Q464s", data)
    return dict(verb=verb, answer=answer, number=number, code=CODE[code], value=(a, b, c, d), text=text.rstrip(b"\0"))

def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A path through /proc may be too long: from within its directory it never is.
    here = os.open(".", os.O_PATH)
    os.chdir(os.path.dirname(path)); s.connect(os.path.basename(path)); os.fchdir(here); os.close(here)
    s.settimeout(10)
    return s

def receive(s):
    data = s.recv(4096)
    return parse(data) if data else None

def ask(s, data, fds=()):
    s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    return receive(s)
