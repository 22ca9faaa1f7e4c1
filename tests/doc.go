// Package tests drives the built program from outside, as its users do: real
// containers, a real Redis, real child processes. Each promise of the README has
// a test named after it.
package tests
