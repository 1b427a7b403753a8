// Package clients is what a build host remembers of the machines that it builds for: which clients
// it obeys, what each of them has, lacks and wishes, and what is on its way to them on which drive.
//
// # Trust
//
// A host obeys the clients that its administrator has accepted, by their keys, or added by name
// where receipts are typed. They are a store of their own: none of them is ever trusted as an
// origin's key. A client decides what is carried to that client, and nothing else.
//
// # What is remembered
//
//	STATE/clients/ID/client          JSON: type Client; ID is the fingerprint, or "name." and the name
//	STATE/clients/ID/key.asc         the client's public key
//	STATE/clients/ID/N.json          its newest request (package request)
//	STATE/clients/ID/N.Packages.zst  the installed list of that request
//	STATE/drives/ID.ORIGIN           JSON: type Drive, one for each drive and origin
//	STATE/catalogues/ORIGIN.N        JSON: the sums of a catalogue of this host, in its order
//	STATE/offered/FINGERPRINT        JSON: a client that asked and that nobody accepted
//	STATE/forgotten/FINGERPRINT      JSON: type Forgotten: its requests from before do not count
//
// Every file is replaced as a whole, under the lock of the state directory, which the caller holds.
// The file client is written last, and names the request that counts. An odd one is an error that
// names it: a client that was accepted is not forgotten in silence. Drives and catalogues are a
// help; an odd one counts as none, and then more is carried than is needed. Without the state
// directory everybody counts as having nothing.
//
// # What a client has
//
// A package counts as the client's if its newest request has it in the receipts, or a typed receipt
// of the last Transit did. It is in transit if a drive that was written after the newest request
// was read, in the last Transit, carries it. So a drive that comes back, the next request and time
// each end that; what was lost is carried again.
package clients
