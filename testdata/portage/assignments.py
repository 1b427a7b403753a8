#!/usr/bin/env python3
"""Writes assignments.jsonl: what a shell and systemd make of files like /etc/conf.d/NAME.

    GENERATOR=.../user-environment-generators/30-systemd-environment-d-generator python3 assignments.py [SEED COUNT] > assignments.jsonl

The shell is dash. systemd is its generator for environment.d, which reads with the parser of EnvironmentFile= and then
expands variables; so its values that come from a text with "$" say nothing. One JSON object a line:

    text     the file
    sh       the variables that the shell has set; null if it stopped
    systemd  the variables that systemd has set
"""
import json, os, random, subprocess, sys, tempfile

KEYS = ["A", "B", "KEY", "_x9"]
DUMP = "for k in %s; do eval \"v=\\${$k-unset}\"; printf '%%s=%%s\\000' $k \"$v\"; done" % " ".join(KEYS)

CASES = [
    "", "\n\n", "# comment\n", "  # comment\nA=1\n", "; comment\nA=1\n", "A=1", "A=1\nB=2\nA=3\n", "A=\nB=\n", "A=''\nB=\"\"\n",
    "A=/a/b-c.d,e:f@g%h+i\n", "A='two words'\nB=\"two words\"\n", "A=two words\n", "A=two\\ words\n", "A=a'b'\n", "A='a'b\n", "A='a'\"b\"c\n",
    "A='a' 'b'\n", "A='a'   \nB=x  \nKEY=\t\n", "A=x # y\n", "A='x' # y\n", "A=x#y\n", "A=#y\n", "A= x\n", "A =x\n", "export A=x\n", "A+=x\n",
    "  A=x\n\tB=y\n", "A=\"x\\\"y\"\n", "A=\"x\\y\\\\z\\n\"\n", "A='x\\y\\\\z'\n", "A=x\\y\\\\z\n", "A=\"x\\\ny\"\nB=x\\\ny\n", "A='x\ny'\nB=\"x\ny\"\n",
    "A=\"$B\"\n", "A='$B'\nB='`x`'\n", "A=$B\n", "A=\"\\$B\"\n", "A=\\$B\n", "A=`x`\n", "A=~/x\nB=~\n", "A=x~\nB=/x:~/y\nKEY='~/x'\n", "A=a;B=b\n", "A=a&\n",
    "A=a|b\n", "A=(x)\n", "A=*\nB=?[a-z]\n", "A={a,b}\n", "A=!x\nB=^x\n", "A=x=y\n", "1A=x\nB=1\n", "A-B=x\nB=1\n", "A.B=x\n", "A\nB=1\n", "=x\nB=1\n",
    "A='x\nB=1\n", "A=\"x\nB=1\n", "A=x\\", "A=\"x\\", "A=x\r\nB=y\r\n", "# x\\\nA=1\n", "A='it'\"'\"'s'\n", "A='\u00e9\u00df'\nB=\u00e9\n", "A=\"a\tb\"\n", "A=a\x0bb\n",
]

PIECES = ["A=", "B=", "KEY=", "_x9=", "\n", "\n", "\n", " ", "\t", "'", "'", '"', '"', "\\", "\\\n", "\\\"", "\\'", "\\ ", "#", "x", "y z", "a/b", "=", ";", "$", "$A", "`", "~", ":", "&", "|", "*", "+", "export ", "%", "\u00e9"]


def random_text(rng):
    lines = []
    for _ in range(rng.randint(1, 4)):
        q = rng.choice(["", "'", '"'])
        body = "".join(rng.choice(PIECES[4:]) if rng.random() < .25 else rng.choice(["x", "y", "z", "/", "1"]) for _ in range(rng.randint(0, 8)))
        lines.append(rng.choice(KEYS) + "=" + q + body + q + "\n")
    if rng.random() < .3:
        lines.insert(rng.randint(0, len(lines)), "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 8))) + "\n")
    return "".join(lines)


def shell(path, d):
    r = subprocess.run(["/bin/dash", "-c", ". " + path + "; printf 'END\\000'; " + DUMP], env={"PATH": "/nonexistent"}, cwd=d, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=5)
    out = r.stdout.decode("utf-8", "replace")
    if "END\0" not in out:
        return None
    pairs = (x.split("=", 1) for x in out.split("END\0", 1)[1].split("\0") if x)
    return {k: v for k, v in pairs if v != "unset"}


def unescape(s):
    out, i = "", 0
    while i < len(s):
        c = s[i]
        if c == "\\":
            i += 1
            if s[i] == "x":
                c = chr(int(s[i + 1:i + 3], 16))
                i += 2
            else:
                c = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b"}.get(s[i], s[i])
        out += c
        i += 1
    return out


def systemd(path, d):
    r = subprocess.run([os.environ["GENERATOR"]], env={"XDG_CONFIG_HOME": d, "HOME": "/nonexistent", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5)
    got = {}
    for line in r.stdout.decode("utf-8", "replace").splitlines():
        k, _, v = line.partition("=")
        if k in KEYS:
            got[k] = unescape(v[1:-1]) if v.startswith('"') else v
    return got


def main():
    texts = list(CASES)
    if len(sys.argv) == 3:
        rng = random.Random(int(sys.argv[1]))
        texts += [random_text(rng) for _ in range(int(sys.argv[2]))]
    for text in texts:
        with tempfile.TemporaryDirectory() as d:
            os.mkdir(d + "/environment.d")
            path = d + "/environment.d/x.conf"
            with open(path, "w", newline="") as f:
                f.write(text)
            print(json.dumps(dict(text=text, sh=shell(path, d), systemd=systemd(path, d))))


if __name__ == "__main__":
    main()
