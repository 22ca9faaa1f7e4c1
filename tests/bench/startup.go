package main

import "context"

func measureStartup(context.Context, *bench) ([]row, error) { return nil, nil }
