package sipfront_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"
	"time"
)

// ours matches a goroutine that was started by the code under test.
var ours = regexp.MustCompile(`created by (parley/sipfront[./]\S*|github.com/emiago/sipgo\S*)`)

// TestMain checks that nothing is left running when every server has been stopped.
func TestMain(m *testing.M) {
	code := m.Run()
	left := ""
	for end := time.Now().Add(30 * time.Second); code == 0; time.Sleep(10 * time.Millisecond) {
		b := make([]byte, 1<<20)
		b = b[:runtime.Stack(b, true)]
		if left = ours.FindString(string(b)); left == "" {
			break
		}
		if time.Now().After(end) {
			fmt.Printf("left running: %s\n%s\n", left, b)
			code = 1
		}
	}
	os.Exit(code)
}
