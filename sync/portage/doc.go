// Package portage reads a machine's Portage settings from its files. Nothing is executed, nothing is written.
package portage
