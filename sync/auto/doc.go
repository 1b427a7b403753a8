// Package auto is what happens when a drive is plugged in: look at it, do what this machine is for,
// make it safe to pull, and tell.
//
// # A run
//
//	role       the value of PKGSNEAK_AUTO; without one the run ends here
//	claim      one run for a plug: an event that is repeated finds the claim taken, and ends
//	turn       one run for a machine: the second drive waits
//	identify   file system and label from the first sectors, nothing mounted yet
//	look       an existing mount, else a private one that writes nothing at all, not even a journal. No tree pkgsneak/, and no label that asks for one: left alone
//	export     fsck on the FATs, mounted for writing, exporter.Export in a worker
//	import     mounted read-only, importer.Import in a worker
//	request    only where it is asked for: mounted for writing, requester.Request in a worker
//	unmount    and, as proof, the device opened exclusively
//	tell       log, users at their terminals, the hook; the state
//
// If a machine has both roles, it exports first: a file that was deleted here leaves the drive,
// instead of coming back from it. The import then brings what others exported.
//
// Nothing here makes a key trusted: an import from an unknown key is refused, with the way to trust
// it.
//
// # The worker
//
// A run has to mount, to start fsck and to start the hook, so it cannot confine itself. The part
// that reads the drive can: export, import and request are made by a process of their own, which is
// this program again, with the settings that this one was started with. It takes everything from
// itself that the operation does not need (Confine of exporter, importer and requester), makes it,
// and ends. On its standard input it gets one line, and then nothing; the end of its input, which
// is also that of a run that was killed, tells it to stop, as a signal does.
//
//	{"operation":"import","drive":"/run/pkgsneak/sda1"}
//
// On its standard output it answers with lines, the last of which is a report or an error:
//
//	{"confined":"confined by landlock 7: reads \"/run/pkgsneak/sda1\", writes ..."}
//	{"event":{"Phase":"copy","Path":"app-misc/foo/foo-1-1.gpkg.tar","Done":1048576,"Total":7340032,"Files":1,"FilesTotal":3}}
//	{"import":{"origins":[...],...}}
//	{"error":{"text":"origin \"bighost\": ...","code":12,"hints":["..."]}}
//
// A worker that was taken over by the contents of a drive can write anything there, and no more:
// its words are capped, and shown.
//
// # The drive is pulled
//
// While a run lasts somebody asks twice a second whether the device is still that plug (sysfs, and
// the kernel's count of media). If not, the run's ctx ends with a *drive.GoneError, running
// programs are killed, and the stale mount is taken out of sight. A run that was killed itself
// leaves its mount to the next one, which sweeps the directory before it begins.
//
// # What a hook gets
//
// PKGSNEAK_ON_DONE is a line for /bin/sh. It runs after the unmount, for at most half a minute,
// with the Result as one JSON object on its standard input:
//
//	{"host":"bighost","device":{"name":"sda1","path":"/dev/sda1","number":"8:1"},"fs":{"type":"vfat","label":"PKGSNEAK"},"role":"export",
//	 "outcome":"done","safe_to_pull":true,"message":"drive \"PKGSNEAK\" (sda1): exported 3 files as bighost; it can be pulled now","export":{...}}
//
// # Watching
//
// Watch is the other half: a drive that stays plugged in (or comes and goes) while packages are
// built; each time the directories have settled, it exports.
package auto
