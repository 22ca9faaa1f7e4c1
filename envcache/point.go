package envcache

// Point is a place between two steps of a build. After each of them a gateway
// may die, and whoever comes next repairs what it left.
type Point string

// Points in the order in which a build passes them.
const (
	PointDigest    Point = "digest"    // the digest is known, nothing was touched
	PointLeased    Point = "leased"    // both leases are held
	PointAttempt   Point = "attempt"   // the attempt's directory exists
	PointCreated   Point = "created"   // the builder exists
	PointStarted   Point = "started"   // the builder runs
	PointExited    Point = "exited"    // the builder has stopped
	PointClaimed   Point = "claimed"   // the attempt was taken for verification
	PointVerified  Point = "verified"  // the attempt is whole and marked
	PointPublished Point = "published" // the generation is visible
	PointCleaned   Point = "cleaned"   // the builder and its attempt are gone
	PointSealed    Point = "sealed"    // the generation can't be written
	PointPointed   Point = "pointed"   // the pointer leads to it
	PointRecorded  Point = "recorded"  // a failure is on the volume, its builder not yet removed
	PointReleased  Point = "released"  // the leases were given back
)

// Points lists all of them.
var Points = []Point{
	PointDigest, PointLeased, PointAttempt, PointCreated, PointStarted, PointExited, PointClaimed,
	PointVerified, PointPublished, PointCleaned, PointSealed, PointPointed, PointRecorded, PointReleased,
}
