package tests

import (
	"testing"
	"time"
)

// patient lets calls wait for a build however slow this machine is now.
const patient = "ATTUNE__BUILD__WAITER=2m"

// TestHundredFiftyFirstCallsOverThreeGatewaysStartThreeBuilders: three packs,
// three gateways, one volume, one Redis.
func TestHundredFiftyFirstCallsOverThreeGatewaysStartThreeBuilders(t *testing.T) {
	t.Parallel()
	redis := newRedis(t)
	h := newHome(t)
	runtimes := h.scripted(t)
	h.pack(t, "storm_python", map[string]string{
		"requirements.txt": "idna==3.10\n",
		"actions/run.yaml": "ref: storm_python.run\nentry_point: run.py\ntimeout: 120\n",
		"actions/run.py":   "import idna\nprint(idna.__version__)\n",
	})
	h.pack(t, "storm_node", map[string]string{
		"package.json":     `{"name":"storm_node","version":"1.0.0","dependencies":{"ms":"2.1.3"}}`,
		"actions/run.yaml": "ref: storm_node.run\nentry_point: run.js\ntimeout: 120\n",
		"actions/run.js":   "console.log(require('ms')('1m'))\n",
	})
	h.scriptedPack(t, "storm_script", built)
	var gateways []*gateway
	for _, name := range []string{"a", "b", "c"} {
		address, _ := redis.via(t)
		gateways = append(gateways, h.beside(name).start(t, address, runtimes, patient))
	}
	since := time.Now()
	wants := map[string]string{"storm_python": "3.10\n", "storm_node": "60000\n", "storm_script": "whole\n"}
	var underWay []*calling
	var packs []string
	for range 50 {
		for ref := range wants {
			underWay = append(underWay, gateways[len(underWay)/len(wants)%len(gateways)].calls(t, scriptedPack{ref: ref}))
			packs = append(packs, ref)
		}
	}
	for i, c := range underWay {
		if a := c.within(t, 2*time.Minute); a.status != 200 || a.body != wants[packs[i]] {
			t.Errorf("call %d of %d, %s.run = %d %s, want 200 %s", i+1, len(underWay), packs[i], a.status, a.body, wants[packs[i]])
		}
	}
	for ref := range wants {
		if got := builds(t, since, ref); got != 1 {
			t.Errorf("%d builders of %s, want 1", got, ref)
		}
	}
	if got := h.generations(t); len(got) != len(wants) {
		t.Errorf("published are %v, want one generation per pack", got)
	}
	h.atRest(t, redis, gateways...)
}
