// Package synthetic has users that are none: the transaction that tests a pool, and the two who talk in a sandbox.
package synthetic

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"parley/cmd/internal/demo"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// Chatter: long enough apart to be no nuisance, soon enough for somebody who just looks in.
const (
	chatterFirst   = 3 * time.Second
	chatterLeast   = 15 * time.Second
	chatterMost    = 45 * time.Second
	chatterTimeout = 2 * time.Second
	sessionRefresh = 10 * time.Minute // well before Session-Expires
)

// attrErr is the key of errors in log lines.
const attrErr = "error"

// small talk of the two demo users, in turns.
var smallTalk = []string{
	"Good morning! Anything new in here?", "All quiet. The pool is up and I had coffee.",
	"I posted this through one node and you read it through another.", "Then the log has it on all of them.",
	"Has anybody seen the compliance file of the last five seconds?", "Look into the compliance directory, it is all there.",
	"Shall we stop a node and see what happens?", "Go ahead, a majority is enough.",
	"My history goes back to the first message.", "Mine too. Same offsets, same chain.",
	"Time for lunch?", "Join us in the Lobby afterwards.",
}

// Chatter lets two demo users talk in the Lobby, each through a node of its own where there are two, until ctx ends.
// When a node goes away they sign in again.
func Chatter(ctx context.Context, addrs []string, domain string, logger *slog.Logger) {
	users := demo.Users()
	speakers := []string{users[3] + "@" + domain, users[4] + "@" + domain}
	line, pause := 0, chatterFirst
	for ctx.Err() == nil {
		err := talk(ctx, addrs, speakers, &line, pause)
		if ctx.Err() != nil {
			return
		}
		logger.Warn("the demo users stopped talking; they sign in again", attrErr, err)
		pause = chatterLeast
		select {
		case <-ctx.Done():
		case <-time.After(chatterLeast):
		}
	}
}

// talk signs both users in and lets them talk until something fails or ctx ends.
func talk(ctx context.Context, addrs, speakers []string, line *int, pause time.Duration) error {
	var clients []*siptest.Client
	defer func() {
		for _, c := range clients {
			c.SignOut()
			c.Close()
		}
	}()
	room := ""
	for i, user := range speakers {
		c := siptest.Dial(siptest.Options{Addr: addrs[i%len(addrs)], User: user, Password: demo.Password, UserAgent: "parley chatter",
			Timeout: chatterTimeout, OnPost: func(*xccos.Post) {}})
		clients = append(clients, c)
		c.SignIn()
		if room == "" {
			room = roomByName(c, demo.Lobby)
		}
		if c.Err() == nil && room == "" {
			return fmt.Errorf("there is no room %s", demo.Lobby)
		}
		c.Join(room)
		if err := c.Err(); err != nil {
			return err
		}
	}
	refresh := time.NewTicker(sessionRefresh)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-refresh.C:
			for _, c := range clients {
				c.Update()
			}
		case <-time.After(pause):
			c := clients[*line%len(clients)]
			if status := c.Post(room, smallTalk[*line%len(smallTalk)]); status != 200 && c.Err() == nil {
				return fmt.Errorf("a post was answered with %d", status)
			}
			*line++
			pause = chatterLeast + rand.N(chatterMost-chatterLeast)
		}
		for _, c := range clients {
			c.Notices() // or they would pile up
			if err := c.Err(); err != nil {
				return err
			}
		}
	}
}

// roomByName returns the URI of the room with exactly this name, empty if there is none.
func roomByName(c *siptest.Client, name string) string {
	for _, r := range c.List(name) {
		if r.Name == name {
			return r.URI
		}
	}
	return ""
}
