package main

import "context"

func measureBuilds(context.Context, *bench) ([]row, error) { return nil, nil }
