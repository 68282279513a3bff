package synthetic

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"parley/cmd/internal/demo"
	"parley/sipfront/siptest"
)

// Message is the transaction of Test-CsPersistentChatMessage: two users sign in, join a room, exchange two messages, leave and
// sign out.
type Message struct {
	Targets          []string // HOST:PORT of sender and receiver; they may be two nodes
	TLS              *tls.Config
	Sender, Receiver string // user@domain
	Passwords        [2]string
	Room             string        // URI; empty: the demo Lobby, else any room found
	Timeout          time.Duration // of a step
}

// Result has the fields of the cmdlet's answer.
type Result struct {
	Target    string  `json:"target"` // of the sender
	Receiver  string  `json:"receiver_target"`
	Result    string  `json:"result"` // success, failure
	LatencyMS float64 `json:"latency_ms"`
	Steps     []Step  `json:"steps"`
	Room      string  `json:"room"`
	Error     string  `json:"error"`
	Diagnosis string  `json:"diagnosis"` // the step that failed
}

// Step is a part of it.
type Step struct {
	Step string  `json:"step"`
	MS   float64 `json:"ms"`
}

// Run does the transaction. The first step that fails ends it.
func (t *Message) Run() (res Result) {
	res = Result{Target: t.Targets[0], Receiver: t.Targets[len(t.Targets)-1], Result: "failure", Steps: []Step{}}
	dial := func(addr, user, password string) *siptest.Client {
		return siptest.Dial(siptest.Options{Addr: addr, TLS: t.TLS, User: user, Password: password, UserAgent: "parley test",
			Epid: strings.ReplaceAll(uuid.NewString(), "-", "")[:12], Timeout: t.Timeout})
	}
	var clients [2]*siptest.Client
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	}()
	room := t.Room
	one, two := "test "+uuid.NewString(), "test "+uuid.NewString()
	posted := func(c *siptest.Client, text string) error {
		if status := c.Post(room, text); status != 200 && c.Err() == nil {
			return fmt.Errorf("%s: the post was answered with %d", c.User(), status)
		}
		return c.Err()
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"sign in sender", func() error {
			clients[0] = dial(t.Targets[0], t.Sender, t.Passwords[0])
			return clients[0].SignIn().Err()
		}},
		{"sign in receiver", func() error {
			clients[1] = dial(t.Targets[len(t.Targets)-1], t.Receiver, t.Passwords[1])
			return clients[1].SignIn().Err()
		}},
		{"find room", func() error {
			if room == "" {
				room = findTestRoom(clients[0])
			}
			if room == "" && clients[0].Err() == nil {
				return fmt.Errorf("%s sees no room", t.Sender)
			}
			res.Room = room
			return clients[0].Err()
		}},
		{"join", func() error {
			clients[0].Join(room)
			clients[1].Join(room)
			return errors.Join(clients[0].Err(), clients[1].Err())
		}},
		{"message of sender to receiver", func() error {
			if err := posted(clients[0], one); err != nil {
				return err
			}
			clients[1].Expect(room, one)
			return clients[1].Err()
		}},
		{"message of receiver to sender", func() error {
			if err := posted(clients[1], two); err != nil {
				return err
			}
			clients[0].Expect(room, two)
			return clients[0].Err()
		}},
		{"leave and sign out", func() error {
			for _, c := range clients {
				c.Part(room)
				c.SignOut()
			}
			return errors.Join(clients[0].Err(), clients[1].Err())
		}},
	}
	began := time.Now()
	for _, s := range steps {
		start := time.Now()
		if err := s.do(); err != nil {
			res.Error, res.Diagnosis = strings.Join(strings.Fields(err.Error()), " "), s.name
			return res
		}
		res.Steps = append(res.Steps, Step{s.name, milliseconds(time.Since(start))})
	}
	res.Result, res.LatencyMS = "success", milliseconds(time.Since(began))
	return res
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// findTestRoom returns the demo Lobby, or else any room that the client sees.
func findTestRoom(c *siptest.Client) string {
	if r := roomByName(c, demo.Lobby); r != "" {
		return r
	}
	for _, r := range c.List("") {
		return r.URI
	}
	return ""
}
