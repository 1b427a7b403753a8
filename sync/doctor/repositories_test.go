package doctor

import (
	"os"
	"strings"
	"testing"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/importer"
)

// repositoryFindings are those about ebuild repositories, with the lines to type.
func repositoryFindings(r *Report) string {
	var text []string
	for _, f := range r.Findings {
		if f.Topic != "repositories" {
			continue
		}
		text = append(text, string(f.Weight)+": "+f.What)
		for _, x := range f.Fix {
			text = append(text, x.File)
			text = append(text, x.Lines...)
		}
	}
	return strings.Join(text, "\n")
}

// A drive's repositories are compared with this machine's: one that is the user's stays until it is
// given away, one that came with a drive must not be fetched by emerge --sync as well, and one
// without this machine's profile is known before an import refuses it.
func TestRepositories(t *testing.T) {
	t.Parallel()
	const repo = "var/db/repos/gentoo/"
	host := newPatient(t, "host-good")
	host.write(repo+"metadata/timestamp.x", "1777000000\n")
	host.write(repo+"app-misc/x/x-1.ebuild", "EAPI=8\n")
	mount := t.TempDir()
	if said := repositoryFindings(host.examine(host.options(Host))); !strings.Contains(said,
		"egencache --update --repo gentoo") {
		t.Errorf("a repository without md5-cache: %q", said)
	}
	host.write(repo+"metadata/md5-cache/app-misc/x-1", "EAPI=8\n")
	if said := repositoryFindings(host.examine(host.options(Host))); said != "" {
		t.Errorf("one that has it: %q", said)
	}
	host.builds("app-misc/x-1", nil)
	host.write(repo+"metadata/glsa/glsa-202604-07.xml",
		`<glsa id="202604-07"><title>x</title><affected><package name="app-misc/x" auto="yes" arch="*">`+
			`<unaffected range="ge">1</unaffected><vulnerable range="lt">1</vulnerable></package></affected></glsa>`)
	host.exports(mount)

	client := newPatient(t, "client-good")
	client.auto = "import"
	client.write(repo+"metadata/timestamp.x", "1770000000\n")
	client.write("etc/portage/repos.conf/gentoo.conf",
		"[gentoo]\nlocation = /var/db/repos/gentoo\n"+
			"sync-type = rsync\nsync-uri = rsync://rsync.example.org/gentoo\n")
	client.trustsHost(host)
	for name, text := range map[string]string{"SLOT": "0", "EAPI": "8", "KEYWORDS": "amd64"} {
		client.write("var/db/pkg/app-misc/x-0/"+name, text+"\n")
	}
	client.write("var/lib/portage/world", "app-misc/x\n")
	r := client.compare(mount)
	if f := r.Outlook; f == nil || len(f.Security) != 1 {
		t.Errorf("an advisory of the tree on the drive, which is newer: %+v", f)
	}
	said := repositoryFindings(r)
	for _, want := range []string{
		`note: the repository "gentoo" of 2026-04-24 on the drive is left alone by an import: import did not bring the one here`,
		"pkgsneak import " + mount + " --adopt-repo gentoo"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if c := r.Origins[0].Repositories; len(c) != 1 || c[0].Action != ebuilds.LeftAlone ||
		c[0].Here.Unix() != 1770000000 || c[0].Origin.Unix() != 1777000000 {
		t.Errorf("%+v", c)
	}
	if strings.Contains(said, "emerge --sync") {
		t.Errorf("it is the user's own: %s", said)
	}

	bring := func(o importer.ImportOptions) {
		t.Helper()
		o.Drive = mount
		if _, err := importer.Import(t.Context(), client.newMachine(nil), o, nil); err != nil {
			t.Fatal(err)
		}
	}
	bring(importer.ImportOptions{AdoptRepos: "gentoo"})
	said = repositoryFindings(client.compare(mount))
	if !strings.Contains(said, `wrong: emerge --sync fetches the repository "gentoo"`) ||
		!strings.Contains(said,
			"/etc/portage/repos.conf/zz-gentoo.conf\n[gentoo]\nauto-sync = no") {
		t.Errorf("it comes with drives now:\n%s", said)
	}
	client.write("etc/portage/repos.conf/zz-gentoo.conf", "[gentoo]\nauto-sync = no\n")
	if said = repositoryFindings(client.compare(mount)); said != "" {
		t.Errorf("with auto-sync off:\n%s", said)
	}

	// the next state lacks the client's profile
	if err := os.Rename(host.path(repo+"profiles/default/linux/amd64/23.0"),
		host.path(repo+"profiles/default/linux/amd64/24.0")); err != nil {
		t.Fatal(err)
	}
	host.write(repo+"metadata/timestamp.x", "1777100000\n")
	host.exports(mount)
	if said = repositoryFindings(client.compare(mount)); !strings.Contains(said,
		`wrong: the repository "gentoo" of 2026-04-25 on the drive is refused by an import: this machine's profile "default/linux/amd64/23.0" is not in it`) {
		t.Errorf("a profile that is gone:\n%s", said)
	}
}
