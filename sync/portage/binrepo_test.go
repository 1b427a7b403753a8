package portage

import (
	"reflect"
	"slices"
	"testing"
)

// The expectations are BinRepoConfigLoader's of Portage 3.0.82.
func TestBinRepos(t *testing.T) {
	t.Parallel()
	const own = "/usr/share/portage/config/binrepos.conf"
	strict := map[string]string{own: "[DEFAULT]\nverify-signature = true\n"}
	gentoo := "[gentoobinhost]\npriority = 1\nsync-uri = https://distfiles.gentoo.org/releases/amd64/binpackages/23.0/x86-64/\n"
	usb := "[usb]\nsync-uri = file:///mnt/usb/pkgsneak/host/packages/\nverify-signature = no\nlocation = /var/cache/binpkgs\npriority=9\n"
	for _, tt := range []struct {
		name     string
		files    map[string]string
		binhost  string
		want     []BinRepo
		problems int
	}{
		{"nothing", nil, "", nil, 0},
		{"only the defaults", strict, "", nil, 0},
		{"a file", map[string]string{own: strict[own], "/etc/portage/binrepos.conf": gentoo},
			"", []BinRepo{
				{Name: "gentoobinhost",
					SyncURI:  "https://distfiles.gentoo.org/releases/amd64/binpackages/23.0/x86-64",
					Location: "/var/cache/binhost/gentoobinhost",
					File:     "/etc/portage/binrepos.conf", Priority: 1, Verify: true}}, 0},
		{"a directory, sorted by priority",
			map[string]string{own: strict[own], "/etc/portage/binrepos.conf/a.conf": usb,
				"/etc/portage/binrepos.conf/b.conf": gentoo}, "", []BinRepo{
				{Name: "gentoobinhost",
					SyncURI:  "https://distfiles.gentoo.org/releases/amd64/binpackages/23.0/x86-64",
					Location: "/var/cache/binhost/gentoobinhost",
					File:     "/etc/portage/binrepos.conf/b.conf", Priority: 1, Verify: true},
				{Name: "usb", SyncURI: "file:///mnt/usb/pkgsneak/host/packages",
					Location: "/var/cache/binpkgs", File: "/etc/portage/binrepos.conf/a.conf",
					Priority: 9}}, 0},
		{"PORTAGE_BINHOST goes into PKGDIR, and the first word is the highest",
			map[string]string{"/etc/portage/binrepos.conf": "[a]\nsync-uri=http://a\n"},
			"/mnt/x/ http://b http://a", []BinRepo{
				{Name: "a", SyncURI: "http://a", File: "/etc/portage/binrepos.conf"},
				{Name: "84dfeee6b14d7f9f10a4cfbfc4cc85ce", SyncURI: "http://b", Priority: 1},
				{Name: "34b2e3e7deae57ba2a28ec1ecf2cc1b8", SyncURI: "/mnt/x", Priority: 2}}, 0},
		{"without sync-uri", map[string]string{"/etc/portage/binrepos.conf": "[a]\nfrozen = yes\n"},
			"", nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := load(t, tt.files, map[string]string{"PORTAGE_BINHOST": tt.binhost})
			got, problems := s.BinRepos()
			for i := range got {
				if got[i].File == "" {
					got[i].Name = "" // an MD5
				}
			}
			for i := range tt.want {
				if tt.want[i].File == "" {
					tt.want[i].Name = ""
				}
			}
			if !reflect.DeepEqual(got, tt.want) || len(problems) != tt.problems {
				t.Errorf("got %+v\nwant %+v\nproblems %v", got, tt.want, problems)
			}
		})
	}
}

func TestPackageLines(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"/etc/portage/package.use/a":           "# no\napp-misc/x  flag -other # why\n\n*/* CPU_FLAGS_X86: aes -avx\n",
		"/etc/portage/package.use/b":           "=dev-libs/y-1 z\n",
		"/etc/portage/package.accept_keywords": "app-misc/x\n",
	}, nil)
	lines, problems := s.PackageLines("package.use")
	want := []PackageLine{
		{"app-misc/x", []string{"flag", "-other"}, "/etc/portage/package.use/a", 2},
		{"*/*", []string{"cpu_flags_x86_aes", "-cpu_flags_x86_avx"},
			"/etc/portage/package.use/a", 4},
		{"=dev-libs/y-1", []string{"z"}, "/etc/portage/package.use/b", 1},
	}
	if !reflect.DeepEqual(lines, want) || len(problems) > 0 {
		t.Errorf("got %+v, %v", lines, problems)
	}
	if lines, _ := s.PackageLines("package.accept_keywords"); len(lines) != 1 ||
		len(lines[0].Words) != 0 {
		t.Errorf("got %+v", lines)
	}
	if lines, problems := s.PackageLines("package.license"); lines != nil || problems != nil {
		t.Errorf("an absent file gives %v, %v", lines, problems)
	}
}

func TestLicenseGroupsStack(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"/var/db/repos/gentoo/profiles/repo_name":      "gentoo\n",
		"/var/db/repos/gentoo/profiles/license_groups": "# groups\nFREE @GPL MIT\nGPL GPL-2 GPL-3\n",
		"/etc/portage/license_groups":                  "FREE mine\n",
	}, nil)
	groups := s.LicenseGroups()
	if !slices.Equal(groups["FREE"], []string{"@GPL", "MIT", "mine"}) || len(groups["GPL"]) != 2 {
		t.Errorf("got %v", groups)
	}
}

func TestPortageEAPI(t *testing.T) {
	t.Parallel()
	const tail = "/site-packages/portage/const.py"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int
		known bool
	}{
		{"none", nil, 0, false},
		{"today", map[string]string{"/usr/lib/python3.13" + tail: "X = 1\nEAPI = 9\n"}, 9, true},
		{"typed", map[string]string{"/usr/lib/python3.14" + tail: "EAPI: int = 9\n"}, 9, true},
		{"two pythons", map[string]string{"/usr/lib/python3.9" + tail: "EAPI = 7\n",
			"/usr/lib/python3.13" + tail: "EAPI = 8\n"}, 8, true},
		{"old place",
			map[string]string{"/usr/lib/portage/pym/portage/const.py": "EAPI                    = 5\nEAPI = 5\n"}, 5, true},
		{"3.0.14", map[string]string{"/usr/lib/python3.8" +
			tail: "SUPPORTED_X             = 1\nEAPI                     = 7\n"}, 7, true},
		{"no blanks, and a tab", map[string]string{"/usr/lib/python3.9" + tail: "EAPI=6\n",
			"/usr/lib/python3.8" + tail: "EAPI\t=\t5\n"}, 6, true},
		{"something else", map[string]string{"/usr/lib/python3.13" + tail: "OTHER_EAPI = 9\n"}, 0,
			false},
	} {
		if got, known := load(t, tt.files, nil).PortageEAPI(); got != tt.want || known != tt.known {
			t.Errorf("%s: %d, %v", tt.name, got, known)
		}
	}
}

func TestReadsGPKG(t *testing.T) {
	t.Parallel()
	const dir = "/usr/lib/python3.9/site-packages/portage/"
	for _, tt := range []struct {
		name         string
		files        map[string]string
		reads, known bool
	}{
		{"no Portage", nil, false, false},
		{"before 3.0.31", map[string]string{dir + "const.py": "EAPI = 8\n"}, false, true},
		{"today", map[string]string{dir + "const.py": "EAPI = 8\n",
			dir + "gpkg.py": ""}, true, true},
		{"lib64",
			map[string]string{"/usr/lib64/python3.9/site-packages/portage/const.py": "EAPI = 8\n"},
			false, true},
	} {
		if reads, known := load(t, tt.files, nil).ReadsGPKG(); reads != tt.reads ||
			known != tt.known {
			t.Errorf("%s: %v, %v", tt.name, reads, known)
		}
	}
}

func TestMakeConfHasTheLastWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, "/etc/portage/make.conf"},
		{"file", map[string]string{"/etc/portage/make.conf": "", "/etc/make.conf": ""},
			"/etc/portage/make.conf"},
		{"old", map[string]string{"/etc/make.conf": ""}, "/etc/make.conf"},
		{"directory", map[string]string{"/etc/portage/make.conf/a": "",
			"/etc/portage/make.conf/b/z": "", "/etc/portage/make.conf/c~": ""},
			"/etc/portage/make.conf/b/z"},
		{"empty directory", map[string]string{"/etc/portage/make.conf": "dir"},
			"/etc/portage/make.conf/pkgsneak"},
	} {
		if got := load(t, tt.files, nil).MakeConf(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	s := load(t, map[string]string{globalsFile: "A=1\n",
		"/etc/portage/make.conf": "source /etc/x\n", "/etc/x": "B=1\n",
		"/etc/portage/package.use": "*/* c\n"}, nil)
	for file, want := range map[string]bool{globalsFile: false, "/etc/portage/make.conf": true,
		"/etc/x": true, "/etc/portage/package.use": false, SourceEnvironment: false,
		"/nowhere": false} {
		if got := s.InMakeConf(file); got != want {
			t.Errorf("%q is part of make.conf: %v", file, got)
		}
	}
}
