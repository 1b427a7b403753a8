package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// ruleDirs are the directories in which udev finds rules, in the order in which the first of a name
// counts.
var ruleDirs = []string{"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d",
	"/usr/lib/udev/rules.d", "/lib/udev/rules.d"}

// ruleFile is the udev rule of the automatic run.
const ruleFile = "90-pkgsneak.rules"

// hasRule tells whether udev has the rule. Of files with one name the first counts, and an empty
// one switches it off.
func hasRule(e *facts) bool {
	for _, dir := range ruleDirs {
		if fi, err := os.Stat(e.place(dir + "/" + ruleFile)); err == nil {
			return fi.Size() > 0
		}
	}
	return false
}

// judgeAuto looks whether a plugged-in drive starts something. It is a comfort, so its absence is a
// note.
func judgeAuto(e *facts, l *findings) {
	installed := hasRule(e)
	role := "export"
	if e.is(Client) {
		role = "import"
		if e.is(Host) {
			role = "both"
		}
	}
	who := Role("")
	if len(e.roles) == 1 {
		who = e.roles[0]
	}
	conf := Fix{Do: "at the end of the file", File: "/etc/conf.d/pkgsneak",
		Lines: []string{"PKGSNEAK_AUTO=" + role}}
	switch auto := e.o.Auto; {
	case auto != "" && !slices.Contains([]string{"export", "import", "both"},
		strings.ToLower(strings.TrimSpace(auto))):
		l.tell(Finding{Topic: "auto", Weight: Wrong, Role: who,
			What: fmt.Sprintf("PKGSNEAK_AUTO=%s is none of export, import and both",
				auto), Why: "a drive that is plugged in does nothing", Fix: []Fix{conf}})
	case installed && e.o.Auto == "":
		l.tell(Finding{Topic: "auto", Weight: Wrong, Role: who,
			What: "the udev rule is installed, but PKGSNEAK_AUTO is not set",
			Why:  "a drive that is plugged in does nothing: the machine has not been told what it is",
			Fix:  []Fix{conf}})
	case !installed && e.o.Auto != "":
		l.tell(Finding{Topic: "auto", Weight: Wrong, Role: who,
			What: fmt.Sprintf("PKGSNEAK_AUTO=%s is set, but no udev rule is installed",
				e.o.Auto), Why: "nothing notices a drive that is plugged in",
			Fix: []Fix{run("pkgsneak auto --install")}})
	case !installed:
		l.tell(Finding{Topic: "auto", Weight: Note, Role: who,
			What: "a drive that is plugged in does nothing by itself",
			Why:  "with the udev rule and PKGSNEAK_AUTO=" + role + " it needs no command",
			Fix:  []Fix{run("pkgsneak auto --install"), conf}})
	}
}
