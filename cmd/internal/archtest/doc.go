// Package archtest is the house's import table as a test: which package may import which, what it must never reach and
// why, what the pure packages may not touch, and how large a package may grow. A package without a row fails, so
// whoever adds one says where it belongs.
package archtest
