// Package crash kills and stops gateways at every point of a build, and checks
// after each that the invariants of environments hold: gateways are child
// processes, a fault point reached is told through a pipe, and the builders live
// on at an engine that the gateways only borrow.
package crash
