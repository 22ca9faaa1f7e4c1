package pack

import (
	"encoding/json"
	"strconv"
	"strings"
)

func (p *documentParser) number() (any, error) {
	start := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return nil, p.fail("a number without digits")
	}
	if p.take('.') && !p.digits() {
		return nil, p.fail("a number without digits after its point")
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		if p.at++; !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return nil, p.fail("a number without digits in its exponent")
		}
	}
	number := p.text[start:p.at]
	if !reasonable(number) {
		p.at = start
		return nil, p.fail("a number that is out of range")
	}
	return json.Number(number), nil
}

func (p *documentParser) digits() bool {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start
}

// reasonable tells whether a number fits what others read it into, and can be
// computed with. 2^53+1 does: nothing here makes a float of it.
func reasonable(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(number[i+1:])
		if err != nil || exponent < -maxNumber || exponent > maxNumber {
			return false
		}
	}
	_, err := strconv.ParseFloat(number, 64)
	return err == nil
}
