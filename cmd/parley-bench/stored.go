package main

import "context"

func storedLogs(ctx context.Context, o *options, r *report) error { return nil }
