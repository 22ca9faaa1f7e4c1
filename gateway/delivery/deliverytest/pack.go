package deliverytest

// Secret is a secret that every scheme takes.
const Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// Hooks are the files of a pack's hooks, by their paths in the pack: one of each
// sender (github, gitlab, …) whose secret is stored as sender_hook, and
//
//	open  proves nothing, and is told a delivery's ID in X-Id
//	wait  likewise, and its sender waits
//	off   is disabled
//	hush  likewise, and gives the action its secret
//	meta  a token in its file; hub.challenge by "a verify token"
//
// All call an action, and give it the parameter name: the body's. It has a
// secret parameter, token.
func Hooks(pack, action string) map[string]string {
	head := func(name string) string {
		if name == "hush" {
			return "ref: " + pack + ".hush\naction: " + pack + "." + action + "\nparameters: {token: /body/token}\n"
		}
		return "ref: " + pack + "." + name + "\naction: " + pack + "." + action + "\nparameters: {name: /body/name}\n"
	}
	files := map[string]string{
		"open": "verify: none\ndedupe: X-Id\n",
		"wait": "verify: none\ndedupe: X-Id\nresponse: sync\n",
		"hush": "verify: none\ndedupe: X-Id\n",
		"off":  "verify: none\nenabled: false\n",
		"meta": "verify: {preset: token, header: X-Token, secrets: [a literal token], verify_token: a verify token}\n",
	}
	for _, sender := range []string{"github", "gitlab", "slack", "shopify", "stripe", "standard-webhooks"} {
		files[sender] = "verify: {preset: " + sender + ", secrets: ['secret:sender_hook', 'secret:sender_hook_2']}\n"
	}
	all := map[string]string{}
	for name, text := range files {
		all["hooks/"+name+".yaml"] = head(name) + text
	}
	return all
}

// Key is the key of a hook in tests, made of its name.
func Key(name string) string {
	key := []byte("AAAAAAAAAAAAAAAAAAAAAAAAAA")
	for i := range name {
		if c := name[i]; c >= 'a' && c <= 'z' {
			key[i] = c - 'a' + 'A'
		}
	}
	return string(key)
}
