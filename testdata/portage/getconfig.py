#!/usr/bin/env python3
"""Writes getconfig.jsonl: what Portage's own getconfig makes of many files.

    PYTHONPATH=PORTAGE/lib python3 getconfig.py [SEED COUNT] > getconfig.jsonl

where PORTAGE is a checkout of gentoo/portage. One JSON object a line:

    name     what is tried
    files    path -> text (or "base64:..." where the text is not UTF-8); @DIR@ is the directory that they are put into
    read     the path that is read (make.conf unless it is given)
    mode     "conf" (make.conf: source, directories), "defaults" (make.defaults), "plain" (profile.env: no expansion)
    vars     variables that are set before
    values   what getconfig returns when it is tolerant, as portageq is; null if it raises an error
    strict   whether it raises none when it is not tolerant, as emerge is

SEED COUNT add random files.
"""
import base64, contextlib, io, json, os, random, sys, tempfile

from portage.util import getconfig

CASES = [
    # name, text or files, options
    ("plain", 'A=1\nB="two words"\nC=\'single\'\n'),
    ("no final newline", 'A=1'),
    ("empty file", ''),
    ("comments only", '# a\n   # b\n'),
    ("comment behind a value", 'A="x" # comment\nB=y#comment\nC="#no"\n'),
    ("comment without a newline", 'A=1 # x'),
    ("expansion braced and bare", 'A=x\nB="${A}/y"\nC="$A/y"\nD=$A-y\nE=${A}y\nF="$Ay"\n'),
    ("single quotes expand too", "A=x\nB='${A} $A'\n"),
    ("unset variables are empty", 'A="[${NOPE}]$NOPE"\n'),
    ("escaped dollar", r'A="\${DISTDIR}/\${FILE}" B="\$X" C=\$X D=\\$X E="\\$X" F="\\\$X"' + "\n"),
    ("backslash pairs", 'A="a\\\\b"\nB="a\\b"\nC=a\\b\nD=a\\\\b\nE="\\n\\t"\nF=\'a\\b\'\nG=\'a\\\\b\'\n'),
    ("backslash before quotes", 'A="say \\"hi\\""\nB=\\"x\\"\nC="it\'s"\nD=\'say "hi"\'\n'),
    ("continuation in double quotes", 'A="one \\\n two \\\nthree"\n'),
    ("continuation outside quotes", 'A=one\\\ntwo\nB=x\n'),
    ("continuation in single quotes", "A='one \\\ntwo'\n"),
    ("newline in quotes", 'A="one\ntwo\n   three"\nB=\'x\ny\'\n'),
    ("comment sign in a quoted list", 'USE="a\n# not a comment\nb"\n'),
    ("joined parts", 'A="a"b\'c\'"d"\nB=a"b c"d\n'),
    ("quote inside single quotes stops expansion", 'X=1\nA="it\'s $X"\nB="\\"$X\\""\nC="\'$X\'"\nD="\\"\'$X\'\\""\nE="\'\\"$X\\"\'"\n'),
    ("export", 'export A=1\nexport\nB=2\nexport C="x y"\n'),
    ("export twice", 'export export A=1\n'),
    ("spaces around equals", 'A = 1\nB= 2\nC =3\n'),
    ("equals on another line", 'A\n=\n1\n'),
    ("empty value quoted", 'A=""\nB=\'\'\nC=""x\n'),
    ("empty value takes the next word", 'A=\nB=2\n'),
    ("empty value at the end", 'A=1\nB=\n'),
    ("name at the end", 'A=1\nB\n'),
    ("two words unquoted", 'A=1 2\nB=3\n'),
    ("semicolons", 'A=1; B=2\nC=x;\n'),
    ("plus equals", 'A=1\nA+=" 2"\nB=3\n'),
    ("plus equals with a space", 'A=1\nA +="2"\nB=3\n'),
    ("bad names", '1A=x\nB=1\nA-B=2\nC=3\nA.B=1\nD=4\n'),
    ("name of digits inside", 'A1=x\n_A=y\na_9=z\n'),
    ("quoted name", '"A"=1\n"A B"=2\nC=3\n'),
    ("empty name", '""=1\nB=2\n'),
    ("command substitution", 'B=1\nA="$(uname -r)"\nC=2\n'),
    ("command substitution unquoted", 'B=1\nA=$(uname)\nC=2\n'),
    ("backticks", 'A="`uname`"\nB=1\n'),
    ("backticks unquoted", 'A=`uname`\nB=1\n'),
    ("arithmetic", 'A="$((1+2))"\nB=1\n'),
    ("default value", 'A="${B:-x}"\nC="${B-x}"\nD=1\n'),
    ("bad substitutions", 'A="${}"\nB="$"\nC="a$ b"\nD="$-"\nE="${A"\nF="${A B}"\nG="x${"\nH=$\nI="a$"\nJ=1\n'),
    ("brace words", 'A=a{b,c}\nB={x}\nC=${A}\n'),
    ("digits as names", '1=x\nA="$1 ${1}"\n'),
    ("special variables", 'A="$$ x"\nB="$@"\nC="$?"\nD=1\n'),
    ("unclosed double quote", 'A=1\nB="x\nC=2\n'),
    ("unclosed single quote", "A=1\nB='x\nC=2\n"),
    ("backslash at the end", 'A=1\nB=x\\'),
    ("backslash at the end of a quote", 'A="x\\"\nB=1\n'),
    ("equals in values", 'A="a=b"\nB=-O2\nC=a=b\nD=1\n'),
    ("cflags", 'COMMON_FLAGS="-march=native -O2 -pipe"\nCFLAGS="${COMMON_FLAGS}"\nCXXFLAGS="${CFLAGS} -Wno-x"\nMAKEOPTS="-j$(nproc)"\nPKGDIR="/x"\n'),
    ("cflags unquoted", 'CFLAGS=-O2 -pipe\n'),
    ("brackets and parentheses", 'A=[x]\nB=1\n'),
    ("pipes", 'A=a|b\n'),
    ("non-ascii", 'A="köln"\nB=1\n'),
    ("non-ascii unquoted", 'A=köln\nB=1\n'),
    ("non-ascii name", '"é"=1\né=2\n"日本"=3\n"٣"=4\n"A²"=5\n'),
    ("latin-1", b'A="k\xf6ln"\nB=\'\xe9\xe8\'\n'),
    ("byte order mark", b'\xef\xbb\xbfA=1\nB=2\n'),
    ("nul byte", b'A="a\x00b"\nB=1\n'),
    ("crlf", b'A=1\r\nB="x\r\ny"\r\nC="a \\\r\nb"\r\n'),
    ("lone carriage return", b'A=1\rB=2\r'),
    ("tabs and form feeds", 'A\t=\t1\nB="x\ty"\n\x0cC=1\n'),
    ("vertical tab", 'A=1\n\x0bB=1\n'),
    ("later wins", 'A=1\nA=2\nB=$A\nA=3\n'),
    ("self reference", 'A=x\nA="${A} y"\nA="$A z"\n'),
    ("vars from before", 'A="${ROOT}x"\nB="$EPREFIX/y"\n', dict(vars={"ROOT": "/r/", "EPREFIX": "/p"})),
    ("value that is the word source", 'A="source"\nB=1\n'),
    ("value that is the word export", 'A=export\nexport=1\nB=1\n'),
    ("dash names", '-A=1\nB=2\n'),
    ("real fetchcommand", 'FETCHCOMMAND="wget -t 3 -O \\"\\${DISTDIR}/\\${FILE}\\" \\"\\${URI}\\""\n'),
    ("real sftp", 'F="bash -c \\"x=\\\\\\${2#sftp://} ; host=\\\\\\${x%%/*}\\""\nG=${F}\n'),
    ("source relative", {"make.conf": 'A=1\nsource sub/x.conf\nC="$B"\n', "sub/x.conf": 'B="${A}2"\n'}),
    ("source absolute", {"make.conf": 'source @DIR@/x\nC=$B\n', "x": 'B=2\n'}),
    ("source with a variable", {"make.conf": 'D=sub\nsource ${D}/x\nsource "$D/y"\n', "sub/x": 'B=2\n', "sub/y": 'C=3\n'}),
    ("source quoted", {"make.conf": 'source "a b"\nC=1\n', "a b": 'B=2\n'}),
    ("source keeps double quotes inside", {"make.conf": 'source \'"x"\'\nC=1\n', "x": 'B=2\n'}),
    ("source relative to the sourced file", {"make.conf": 'source sub/x\n', "sub/x": 'source y\nB=1\n', "sub/y": 'C=1\n', "y": 'C=wrong\n'}),
    ("source upwards", {"make.conf": 'source sub/x\n', "sub/x": 'source ../y\nB=1\n', "y": 'C=right\n'}),
    ("source without final newline", {"make.conf": 'source x\nC=1\n', "x": 'B=2'}),
    ("source at the end without newline", {"make.conf": 'A=1\nsource x', "x": 'B=2\n'}),
    ("source at the end of a sourced file without newline", {"make.conf": 'source x\nD=1\n', "x": 'B=2\nsource y', "y": 'C=3\n'}),
    ("source missing", {"make.conf": 'A=1\nsource nope\nB=2\n'}),
    ("source missing below a file", {"make.conf": 'A=1\nsource x/nope\nB=2\n', "x": ''}),
    ("source a directory", {"make.conf": 'A=1\nsource sub\nB=2\n', "sub/x": 'C=1\n'}),
    ("source nothing", {"make.conf": 'A=1\nsource'}),
    ("source an empty name", {"make.conf": 'A=1\nsource ""\nB=1\n'}),
    ("source an unset variable", {"make.conf": 'A=1\nsource $NOPE\nB=1\n'}),
    ("source an error", {"make.conf": 'A=1\nsource x\nB=1\n', "x": 'C=1\nD D\nE=1\n'}),
    ("source an open quote", {"make.conf": 'A=1\nsource x\nB=1\n', "x": 'C=1\nD="x\n'}),
    ("source in the middle of an assignment", {"make.conf": 'A=\nsource x\nB=1\n', "x": 'val C=1\n'}),
    ("source as a name", {"make.conf": 'source=x\nB=1\n', "x": 'C=1\n'}),
    ("source twice in a line", {"make.conf": 'source x source y\nB=1\n', "x": 'C=1\n', "y": 'D=1\n'}),
    ("dot is not source", {"make.conf": '. x\nB=1\n', "x": 'C=1\n'}),
    ("source crlf", {"make.conf": 'source x\nB=1\n', "x": 'C=1\r\nD="a\r\nb"\r\n'}),
    ("source after semicolon", {"make.conf": 'source x;\nB=1\n', "x": 'C=1\n', "x;": "C=2\n"}),
    ("directory", {"make.conf/10": 'A=1\n', "make.conf/20": 'B=${A}2\n', "make.conf/9": 'C=${B}3\n'}),
    ("directory skips", {"make.conf/a": 'A=1\n', "make.conf/a~": 'B=1\n', "make.conf/.b": 'C=1\n', "make.conf/CVS/c": 'D=1\n',
                         "make.conf/.git/d": 'E=1\n', "make.conf/d.bak": 'F=1\n', "make.conf/#x#": 'G=1\n', "make.conf/RCS/c": 'H=1\n',
                         "make.conf/sub~/c": 'I=1\n', "make.conf/SCCS": 'J=1\n'}),
    ("directory order goes into directories", {"make.conf/b": 'X="$X b"\n', "make.conf/a/z": 'X="$X az"\n', "make.conf/a/y/x": 'X="$X ayx"\n',
                         "make.conf/a.1": 'X="$X a.1"\n', "make.conf/Z": 'X="$X Z"\n'}),
    ("directory with an error in one file", {"make.conf/1": 'A=1\nB B\n', "make.conf/2": 'C=1\n'}),
    ("directory empty", {"make.conf/.keep": ''}),
    ("directory source", {"make.conf/1": 'source sub/x\n', "make.conf/sub/x": 'A=1\n'}),
    ("absent", {"other": ''}),
    ("defaults do not source", {"make.conf": 'A=1\nsource x\nB=1\n', "x": 'C=1\n'}, dict(mode="defaults")),
    ("defaults value source", {"make.conf": 'A=source\nB=1\n'}, dict(mode="defaults")),
    ("plain keeps dollars", 'export A="$X ${Y} \\$Z"\nexport B=\'/etc /usr\'\nC="a\nb"\nD="a\\\\b"\n', dict(mode="plain")),
]

PIECES = ['A', 'B', 'C_1', 'USE', '=', '=', '=', '=', '"', '"', "'", '\\', '\n', '\n', '\n', ' ', ' ', '\t', '#', '$', '${', '}', '${A}', '$B',
          '${USE}', 'x y', '-flag', '-*', 'export ', 'source ', 'source x\n', 'source "$A"\n', '`', '(', ')', '\\\n', '\\"', "\\'", '\\$', '\\\\', '\r', '\r\n', ';', '+=', 'é', '/',
          'A=1\n', 'B="x y"\n', "USE='a b'\n", 'A="${B} z"\n', 'C_1=$A\n', '""', "''"]


VALUE = ['a', 'b c', '-x', '$A', '${B}', '${USE}', '\\\n', '\n', '\\$', '\\\\', '\\', '/', '#', '=', 'é', '$', '{', '}', ';', "'", '"', '\\"', '`x`', '~', ':-']


def assignments(rng):
    lines = []
    for _ in range(rng.randint(1, 6)):
        value = "".join(rng.choice(VALUE) for _ in range(rng.randint(0, 6)))
        quote = rng.choice(['"', '"', '"', "'", ""])
        if quote:
            value = value.replace(quote, "") if rng.random() < .9 else value
        lines.append(rng.choice(["", "", "", "export ", " "]) + rng.choice(["A", "B", "USE"]) + "=" + quote + value + quote + rng.choice(["\n", "\n", " # x\n", "\r\n", ";\n"]))
    return "".join(lines)


def random_case(rng, n):
    if rng.random() < .7:
        files = {"make.conf": assignments(rng)}
        if rng.random() < .3:
            files = {"make.conf": "source x\n" + files["make.conf"], "x": assignments(rng)}
        return ("random %d" % n, files)
    text = lambda: "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 24)))
    files = {"make.conf": text()}
    if rng.random() < .5:
        files["x"] = text().replace("source", "")
    return ("random %d" % n, files)


def put(directory, files):
    for name, text in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(text, str):
            text = text.replace("@DIR@", directory).encode()
        with open(path, "wb") as f:
            f.write(text)


def run(path, mode, variables, tolerant):
    args = {"conf": dict(allow_sourcing=True, recursive=True), "defaults": {}, "plain": {}}[mode]
    expand = False if mode == "plain" else dict(variables)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return getconfig(path, tolerant=tolerant, expand=expand, **args) or {}


def vector(case):
    name, files, options = case[0], case[1], case[2] if len(case) > 2 else {}
    if not isinstance(files, dict):
        files = {"make.conf": files}
    mode, variables = options.get("mode", "conf"), options.get("vars", {})
    out = {"name": name, "files": {k: v if isinstance(v, str) else "base64:" + base64.b64encode(v).decode() for k, v in files.items()}, "mode": mode, "vars": variables}
    with tempfile.TemporaryDirectory() as d:
        put(d, files)
        path = os.path.join(d, "make.conf")
        try:
            out["values"] = {k: v.replace(d, "@DIR@") for k, v in run(path, mode, variables, True).items()}
        except Exception:
            out["values"] = None
        try:
            run(path, mode, variables, False)
            out["strict"] = True
        except Exception:
            out["strict"] = False
    return json.dumps(out, ensure_ascii=False, sort_keys=True)


def main():
    cases = list(CASES)
    if len(sys.argv) == 3:
        rng = random.Random(int(sys.argv[1]))
        cases += [random_case(rng, i) for i in range(int(sys.argv[2]))]
    for c in cases:
        print(vector(c))


if __name__ == "__main__":
    main()
