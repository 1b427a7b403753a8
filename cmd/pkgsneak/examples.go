package main

// example is a line that somebody could type, and what it does.
type example struct{ line, does string }

// examplesOf are the examples of each command, for its help and its manual page.
var examplesOf = map[string][]example{
	"export": {
		{"pkgsneak export --pretend /mnt/usb",
			"Shows what would be copied and removed, and does nothing."},
		{"pkgsneak export /mnt/usb && umount /mnt/usb",
			"Writes what changed; the first export makes this machine's signing key."},
	},
	"import": {
		{"pkgsneak import /mnt/usb",
			"Takes what is missing here; the last lines say what to type next."},
		{"pkgsneak import --prune --ask /mnt/blue /mnt/red",
			"Takes the newest of two drives, removes what its origin no longer has, and asks before."},
	},
	"verify": {
		{"pkgsneak verify /mnt/usb",
			"Reads every file, and names those that are damaged, missing or not in the signed list."},
		{"pkgsneak verify --origin bighost --json /mnt/usb",
			"Reads what one origin exported, for a script."},
	},
	"status": {
		{"pkgsneak status", "This machine's directories, keys and last runs."},
		{"pkgsneak status /mnt/usb",
			"The same, and what the drive carries, how old it is and who signed it."},
	},
	"request": {
		{"pkgsneak request --pretend /mnt/usb",
			"Shows what the request would tell, and writes nothing."},
		{"pkgsneak request /mnt/usb media-sound/foo",
			"Tells what this machine has and lacks, and wishes for a package."},
	},
	"clients": {
		{"pkgsneak clients",
			"Which clients there are, what each lacks, and what nobody has built."},
		{"pkgsneak clients accept attic", "Obeys a client whose request an export has read."},
	},
	"undo": {
		{"pkgsneak undo -p",
			"Shows what would be put back and removed, and the line with which emerge goes back."},
		{"pkgsneak undo", "Takes the last import back."},
	},
	"forget": {
		{"pkgsneak forget --pretend oldhost /mnt/usb",
			"Shows what would be removed of an origin whose host is gone."},
		{"pkgsneak forget oldhost /mnt/usb --yes", "Removes it without a question."},
	},
	"index": {
		{"pkgsneak index", "Renews the index of this machine's PKGDIR."},
		{"pkgsneak index --check /srv/binpkgs",
			"Compares another PKGDIR with its index, and changes nothing."},
	},
	"doctor": {
		{"pkgsneak doctor", "Examines this machine."},
		{"pkgsneak doctor --portage /mnt/usb",
			"Compares it with what the drive carries, and lets emerge confirm the line to type."},
	},
	"auto": {
		{"pkgsneak auto --install", "Puts the udev rule, units and settings in place."},
		{"pkgsneak auto sda1",
			"Does what udev starts when the drive with the partition sda1 is plugged in."},
	},
	"watch": {
		{"pkgsneak watch /mnt/usb",
			"Exports whenever emerge has finished some packages, until it is stopped."},
		{"pkgsneak watch --once --settle 2m /mnt/usb",
			"Waits until nothing has changed for two minutes, exports, and ends."},
	},
	"serve": {
		{"pkgsneak serve --listen :8080", "Serves this machine's PKGDIR and DISTDIR."},
		{"pkgsneak serve --prefix /funtoo /mnt/usb",
			"Serves what the trusted origins of a drive have signed, below a path."},
	},
	"key": {
		{"pkgsneak key",
			"Shows the fingerprint, to be compared with what trust shows on a client."},
		{"pkgsneak key revocation > revocation.asc",
			"Keeps a certificate that ends the key, should it come into wrong hands."},
	},
	"trust": {
		{"pkgsneak trust /mnt/usb", "Shows the keys on the drive, and asks for each."},
		{"pkgsneak trust list", "Shows the keys that are trusted here."},
	},
	"completion": {
		{"pkgsneak completion bash > /etc/bash_completion.d/pkgsneak",
			"Installs completion for bash."},
		{"pkgsneak completion fish | source", "Tries it in a running fish."},
	},
}
