package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// What callers are told to do with errors that are worth a retry, in gRPC's own words.
const retryPolicy = `{"methodConfig": [{
	"name": [{"service": "vitserve.v1.ClassificationService"}],
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.01s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
	}
}]}`

type step struct {
	Step      string    `json:"step"`
	Image     string    `json:"image"`
	Arguments []float64 `json:"arguments"`
}

func connect(address string, retries bool) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if retries {
		options = append(options, grpc.WithDefaultServiceConfig(retryPolicy))
	} else {
		options = append(options, grpc.WithDisableRetry())
	}
	return grpc.NewClient(address, options...)
}

func runSteps(address string, in io.Reader, out io.Writer) error {
	plain, err := connect(address, false)
	if err != nil {
		return err
	}
	defer plain.Close()
	contract, err := reflectContract(plain)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var asked step
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		answer, err := contract.take(asked, address, plain)
		if err != nil {
			return fmt.Errorf("%s: %w", asked.Step, err)
		}
		line, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", line)
	}
	return lines.Err()
}

func (contract *contract) take(asked step, address string, plain *grpc.ClientConn) (any, error) {
	image, err := os.ReadFile(asked.Image)
	if err != nil {
		return nil, err
	}
	switch asked.Step {
	case "classify":
		return contract.classify(plain, image, patience)
	case "failure":
		return contract.failure(plain, image)
	case "late":
		_, err := contract.classify(plain, image, 300*time.Millisecond)
		return codeName(status.Code(err)), nil
	case "retried":
		return contract.retried(address, image)
	case "steady":
		if len(asked.Arguments) == 2 {
			return contract.steady(address, image, asked.Arguments[0], int(asked.Arguments[1]))
		}
	}
	return nil, fmt.Errorf("there is no such step, or not with such arguments")
}

// The whole of an error: code, message, details by their own types, trailers.
func (contract *contract) failure(connection *grpc.ClientConn, image []byte) (any, error) {
	var trailers metadata.MD
	_, err := contract.classify(connection, image, patience, grpc.Trailer(&trailers))
	if err == nil {
		return nil, nil
	}
	found := status.Convert(err)
	answer := map[string]any{"code": codeName(found.Code()), "pushback": nil}
	if pushback := trailers.Get("grpc-retry-pushback-ms"); len(pushback) > 0 {
		answer["pushback"] = pushback[0]
	}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			answer["reason"], answer["domain"] = detail.GetReason(), detail.GetDomain()
		case *errdetails.BadRequest:
			fields := []string{}
			for _, violation := range detail.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
			answer["fields"] = fields
		case *errdetails.RetryInfo:
			answer["retryDelayMs"] = detail.GetRetryDelay().AsDuration().Milliseconds()
		}
	}
	return answer, nil
}

// Through a connection with a retry policy: the library itself has to act on what the server sends.
func (contract *contract) retried(address string, image []byte) (any, error) {
	retrying, err := connect(address, true)
	if err != nil {
		return nil, err
	}
	defer retrying.Close()
	for calls := 1; ; calls++ {
		predictions, err := contract.classify(retrying, image, patience)
		if err == nil {
			return map[string]any{"calls": calls, "predictions": predictions}, nil
		}
		// All attempts of this call were used up before there was a permit.
		if status.Code(err) != codes.ResourceExhausted || calls == 100 {
			return nil, err
		}
	}
}

// Calls one after the other, from so many callers on one connection with a retry policy, for so long.
func (contract *contract) steady(address string, image []byte, seconds float64, callers int) (any, error) {
	retrying, err := connect(address, true)
	if err != nil {
		return nil, err
	}
	defer retrying.Close()
	until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var calls atomic.Int64
	var lock sync.Mutex
	errors := []string{}
	var ended sync.WaitGroup
	for range callers {
		ended.Go(func() {
			for time.Now().Before(until) {
				calls.Add(1)
				if _, err := contract.classify(retrying, image, patience); err != nil {
					lock.Lock()
					errors = append(errors, err.Error())
					lock.Unlock()
				}
			}
		})
	}
	ended.Wait()
	return map[string]any{"calls": calls.Load(), "errors": errors, "version": grpc.Version}, nil
}

// As it is written in the specification.
func codeName(code codes.Code) string {
	names := map[codes.Code]string{
		codes.InvalidArgument:   "INVALID_ARGUMENT",
		codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
		codes.DeadlineExceeded:  "DEADLINE_EXCEEDED",
	}
	if name, known := names[code]; known {
		return name
	}
	return code.String()
}
