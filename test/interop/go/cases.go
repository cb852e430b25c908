package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testing "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

const (
	patience      = 20 * time.Second
	largeRequest  = 271828
	largeResponse = 314159
)

// Cases of grpc-go end the program themselves where the server fails them.
func runCase(address, name string) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		fail(name, err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := testing.NewTestServiceClient(connection)
	switch name {
	case "empty_unary":
		interop.DoEmptyUnaryCall(ctx, client)
	case "large_unary":
		interop.DoLargeUnaryCall(ctx, client)
	case "client_compressed_unary":
		compressedUnary(ctx, client)
	case "client_streaming":
		interop.DoClientStreaming(ctx, client)
	case "server_streaming":
		interop.DoServerStreaming(ctx, client)
	case "ping_pong":
		interop.DoPingPong(ctx, client)
	case "empty_stream":
		interop.DoEmptyStream(ctx, client)
	case "cancel_after_begin":
		interop.DoCancelAfterBegin(ctx, client)
	case "cancel_after_first_response":
		interop.DoCancelAfterFirstResponse(ctx, client)
	case "timeout_on_sleeping_server":
		interop.DoTimeoutOnSleepingServer(ctx, client)
	case "custom_metadata":
		interop.DoCustomMetadata(ctx, client)
	case "status_code_and_message":
		interop.DoStatusCodeAndMessage(ctx, client)
	case "special_status_message":
		interop.DoSpecialStatusMessage(ctx, client)
	case "unimplemented_method":
		interop.DoUnimplementedMethod(ctx, connection)
	case "unimplemented_service":
		interop.DoUnimplementedService(ctx, testing.NewUnimplementedServiceClient(connection))
	default:
		fail(name, fmt.Errorf("there is no such case"))
	}
}

// The one case that grpc-go has not: whether the server tells compressed messages from others, and takes both.
func compressedUnary(ctx context.Context, client testing.TestServiceClient) {
	ask := func(expected bool, options ...grpc.CallOption) (*testing.SimpleResponse, error) {
		return client.UnaryCall(ctx, &testing.SimpleRequest{
			ExpectCompressed: &testing.BoolValue{Value: expected},
			ResponseSize:     largeResponse,
			Payload:          &testing.Payload{Body: make([]byte, largeRequest)},
		}, options...)
	}
	const name = "client_compressed_unary"
	if _, err := ask(true); status.Code(err) != codes.InvalidArgument {
		fail(name, fmt.Errorf("a message that is not compressed and should be: %v", err))
	}
	for _, compressed := range []bool{true, false} {
		var options []grpc.CallOption
		if compressed {
			options = append(options, grpc.UseCompressor(gzip.Name))
		}
		response, err := ask(compressed, options...)
		if err != nil {
			fail(name, err)
		}
		if size := len(response.GetPayload().GetBody()); size != largeResponse {
			fail(name, fmt.Errorf("the response has %d bytes", size))
		}
	}
}

func fail(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}
