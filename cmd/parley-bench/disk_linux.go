package main

import (
	"os"
	"syscall"
)

// datasync makes the content of a file durable, and no more of its metadata than that needs.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

const tmpfsMagic = 0x01021994

// fileSystem names the kind of file system of a directory where that matters.
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err == nil && s.Type == tmpfsMagic {
		return "tmpfs"
	}
	return ""
}
