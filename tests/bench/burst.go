package main

import "context"

func measureBurst(context.Context, *bench) ([]row, error) { return nil, nil }
