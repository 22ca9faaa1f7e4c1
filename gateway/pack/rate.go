package pack

import (
	"time"

	"attune/gateway/limit"
	"attune/runtimes/strictyaml"
)

// rateFile is a rate block, as it is written.
type rateFile struct {
	Limit *int   `yaml:"limit"`
	Per   string `yaml:"per"`
	Burst *int   `yaml:"burst"`
}

// read is the zero rate, not bounded, where nothing is written.
func (r rateFile) read(doc *strictyaml.Document) limit.Rate {
	if !doc.Has("rate") {
		return limit.Rate{}
	}
	rate := limit.Rate{Per: time.Second}
	if r.Per != "" {
		per, err := seconds(r.Per)
		if err != nil || per < limit.MinPer || per > limit.MaxPer {
			doc.Faultf(at("rate", "per"), "rate.per must be seconds or a duration from %v to %v, for example 1s or 1h", limit.MinPer, limit.MaxPer)
			return limit.Rate{}
		}
		rate.Per = per
	}
	if r.Limit == nil || *r.Limit < 1 || *r.Limit > limit.MaxLimit {
		doc.Faultf(at("rate"), "rate.limit must be a number of calls from 1 to %d, for example rate: {limit: 100, per: 1s}", limit.MaxLimit)
		return limit.Rate{}
	}
	rate.Limit = *r.Limit
	if r.Burst == nil {
		return rate
	}
	if *r.Burst < 1 || *r.Burst > rate.Limit {
		doc.Faultf(at("rate", "burst"), "rate.burst must be a number of calls from 1 to rate.limit, %d", rate.Limit)
		return limit.Rate{}
	}
	rate.Burst = *r.Burst
	return rate
}
