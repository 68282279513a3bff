// Package realclient judges the server by a client that no one here wrote: libpurple with the pidgin-sipe plugin as the
// distribution ships it, driven by a script (client/purplechat.c, see README.md). It knows the program and nothing of its
// packages: it builds cmd/parley, starts the sandbox and talks to its ports.
//
// The tests need gcc, make, pkg-config and the Debian packages that missing names. Without them they are skipped with a
// message; with CI=true in the environment that is a failure.
package realclient
