// Package roundtrip has the tests in which an export and an import meet: what the one writes, the
// other accepts, whatever happens on the way.
//
// A round trip exports real packages to a drive and imports them on other machines
// (operations_test.go). The attack table (attack_table_test.go) changes a drive as somebody who
// handles it might, each row by its name, and runs a whole import. Others kill an operation at each
// of its changes, fill a disk, or carry large files.
//
// It has no code: exporter and importer share nothing but the floors below them, so that neither of
// them can hold these tests.
package roundtrip
