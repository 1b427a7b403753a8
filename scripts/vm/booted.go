package vm

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// System is a system of Debian's packages with an init and a udev of its own.
// The agent loads the modules, starts itself once more, and becomes the init:
// what it runs afterwards runs beside the system, as from a root's shell.
type System struct {
	Name     string // for the cache
	Packages []string
	Init     string // becomes process 1
	// path -> text, over what the packages have; a program if it begins with #!
	Files map[string]string
	Links map[string]string // path -> target
	Boot  string            // words for the kernel's command line
}

// nextInit is the link that tells the agent what to become.
const nextInit = "lab-init"

// tools are the commands of busybox in such a system. A package that brings
// one of them comes after, and replaces it.
var tools = strings.Fields(`[ awk basename cat chgrp chmod chown cmp cp cut date dd df dirname du echo egrep env expr false fgrep find fuser grep head hostname id ip
	kill killall klogd ln logger ls md5sum mkdir mkfifo mknod mktemp more mv nohup nproc od pidof printf ps pwd readlink realpath rm rmdir sed seq setsid sh sha256sum
	sleep sort stat sync syslogd tail tee test timeout touch tr true truncate tty uname uniq usleep vi wc wget which xargs yes`)

// unused are modules for the replay of write logs. Some of them measure the
// processor before they begin, or bring devices that udev has to look at.
var unused = []string{"nbd", "xfs", "btrfs", "xor", "raid6_pq", "zstd_compress", "blake2b_generic",
	"xxhash_generic", "libcrc32c"}

// common are packages of every system: what a plugged-in drive needs.
var common = []string{"udev", "kmod", "util-linux", "mount", "dosfstools", "exfatprogs",
	"e2fsprogs", "busybox-static", "libc6"}

var commonFiles = map[string]string{
	"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nkmem:x:15:\ndialout:x:20:\ncdrom:x:24:\nfloppy:x:25:\ntape:x:26:\naudio:x:29:\nuucp:x:30:\n" +
		"utmp:x:43:\nvideo:x:44:\nrender:x:105:\ninput:x:106:\nkvm:x:107:\nsgx:x:108:\nsystemd-journal:x:109:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf":  "passwd: files\ngroup: files\nhosts: files\n",
	"etc/hosts":          "127.0.0.1 localhost guest\n",
	"etc/hostname":       "guest\n",
	"etc/fstab":          "",
	"etc/os-release":     "ID=lab\nNAME=lab\n",
	"etc/udev/udev.conf": "",
}

// with returns the union of file maps; the later wins.
func with(files ...map[string]string) map[string]string {
	all := make(map[string]string)
	for _, f := range files {
		maps.Copy(all, f)
	}
	return all
}

// Systemd is a system whose init is systemd.
func Systemd() System {
	s := System{
		Name: "systemd", Packages: append([]string{"systemd"},
			common...), Init: "/usr/lib/systemd/systemd", Boot: "systemd.show_status=0",
		Files: with(commonFiles, map[string]string{
			"etc/machine-id":            "0123456789abcdef0123456789abcdef\n",
			"etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nRateLimitBurst=0\n",
			"etc/systemd/system.conf":   "[Manager]\nDefaultTimeoutStartSec=300\nDefaultDeviceTimeoutSec=300\n",
		}),
		Links: map[string]string{"etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target", "usr/sbin/init": "../lib/systemd/systemd"},
	}
	// Units that have nothing to do here, and take their time for it.
	for _, unit := range []string{"getty.target", "serial-getty@ttyS0.service",
		"systemd-logind.service", "systemd-hwdb-update.service", "systemd-firstboot.service",
		"systemd-machine-id-commit.service", "systemd-update-utmp.service",
		"systemd-update-utmp-runlevel.service", "systemd-random-seed.service",
		"systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
		"systemd-modules-load.service", "systemd-pstore.service",
		"systemd-user-sessions.service",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
		"sys-kernel-tracing.mount", "modprobe@.service", "e2scrub_reap.service",
		"systemd-ask-password-wall.path", "systemd-ask-password-console.path",
		"systemd-boot-system-token.service", "systemd-update-done.service",
		"systemd-journal-catalog-update.service", "ldconfig.service", "fstrim.timer",
		"systemd-tmpfiles-clean.timer", "apt-daily.timer", "e2scrub_all.timer"} {
		s.Links["etc/systemd/system/"+unit] = "/dev/null"
	}
	return s
}

// OpenRC is a system whose init is OpenRC, with systemd's udevd. Its services
// are those of a Gentoo that matter here: Debian's package has none of them.
func OpenRC() System {
	s := System{
		Name: "openrc", Packages: append([]string{"openrc", "dpkg", "libpam-modules"},
			common...), Init: "/usr/sbin/openrc-init",
		Files: with(commonFiles, map[string]string{
			"etc/conf.d/udev": "",
			// supervise-daemon asks PAM before it becomes another user.
			"etc/pam.d/other": "account required pam_permit.so\nsession required pam_permit.so\n",
			"etc/init.d/udev": `#!/sbin/openrc-run
description="Device manager"
command=/lib/systemd/systemd-udevd
command_args="--daemon ${udev_options}"
depend() {
	provide dev
	before localmount
}
stop() {
	udevadm control --exit --timeout=60
}
`,
			"etc/init.d/udev-trigger": `#!/sbin/openrc-run
description="Events of devices that were there before udev"
depend() {
	need udev
}
start() {
	udevadm trigger --type=subsystems --action=add && udevadm trigger --type=devices --action=add && udevadm settle
}
`,
			"etc/init.d/localmount": `#!/sbin/openrc-run
description="Mounts of /etc/fstab"
depend() {
	after dev
}
start() {
	mount -a
}
`,
			"etc/init.d/loopback": `#!/sbin/openrc-run
description="The network inside"
depend() {
	provide net
}
start() {
	ip link set lo up
}
`,
			"etc/init.d/syslog": `#!/sbin/openrc-run
description="The log"
command=/bin/syslogd
command_args="-n -O /var/log/messages"
command_background=yes
pidfile=/run/syslog.pid
depend() {
	provide logger
	need localmount
}
start_pre() {
	mkdir -p /var/log
}
`,
			"etc/init.d/ready": `#!/sbin/openrc-run
description="Says that all the others are there"
depend() {
	after *
}
start() {
	touch /run/lab-ready
}
`,
		}),
		Links: map[string]string{"usr/sbin/init": "openrc-init"},
	}
	for service, level := range map[string]string{"udev": "sysinit", "udev-trigger": "sysinit",
		"localmount": "boot", "loopback": "boot", "syslog": "default", "ready": "default"} {
		s.Links["etc/runlevels/"+level+"/"+service] = "/etc/init.d/" + service
	}
	return s
}

// writeSystem writes the root file system of a guest with an init of its own.
func writeSystem(ctx context.Context, w io.Writer, k *Kernel, agent, cache string, s System) error {
	debs, err := findPackages(ctx, cache, s.Name, s.Packages)
	if err != nil {
		return err
	}
	a := &archive{w: w, dirs: make(map[string]bool)}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "mnt", "var/log",
		"var/lib", "usr/sbin", "etc/runlevels/boot", "etc/runlevels/default"} {
		a.dir(dir)
	}
	for _, dir := range merged {
		a.dir("usr/" + dir)
		a.member(dir, modeLink, 0, 0, []byte("usr/"+dir))
	}
	a.put("var/run", modeLink, []byte("/run"))
	a.member("dev/console", modeChar, 5, 1, nil)
	a.copy("init", agent)
	a.member(nextInit, modeLink, 0, 0, []byte(s.Init))
	a.modules(k, unused...)
	for _, name := range tools {
		a.put("usr/bin/"+name, modeLink, []byte("busybox"))
	}
	for _, deb := range debs {
		if err := a.unpack(ctx, deb); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		mode := 0o100644
		if strings.HasPrefix(s.Files[name], "#!") {
			mode = modeFile
		}
		a.put(name, mode, []byte(s.Files[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Links)) {
		a.put(path.Clean(name), modeLink, []byte(s.Links[name]))
	}
	a.member("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("writing the files of %s: %w", s.Name, a.err)
	}
	return nil
}
