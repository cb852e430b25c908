package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const service = "vitserve.v1.ClassificationService"

// What the server says of itself.
type contract struct {
	classifyPath   string
	request, reply protoreflect.MessageDescriptor
}

// Links what reflection gives for the service, strictly: a file that is missing or wrong is an error.
func reflectContract(connection *grpc.ClientConn) (*contract, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(connection).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	})
	if err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, packed := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(packed, file); err != nil {
			return nil, err
		}
		set.File = append(set.File, file)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	found, err := files.FindDescriptorByName(service)
	if err != nil {
		return nil, err
	}
	described, isService := found.(protoreflect.ServiceDescriptor)
	if !isService {
		return nil, protoregistry.NotFound
	}
	method := described.Methods().ByName("Classify")
	return &contract{"/" + service + "/Classify", method.Input(), method.Output()}, nil
}

// Index, label and score of each prediction.
func (contract *contract) classify(connection *grpc.ClientConn, image []byte, timeout time.Duration, options ...grpc.CallOption) ([][3]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request, reply := dynamicpb.NewMessage(contract.request), dynamicpb.NewMessage(contract.reply)
	request.Set(contract.request.Fields().ByName("image"), protoreflect.ValueOfBytes(image))
	if err := connection.Invoke(ctx, contract.classifyPath, request, reply, options...); err != nil {
		return nil, err
	}
	predictions := [][3]any{}
	list := reply.Get(contract.reply.Fields().ByName("predictions")).List()
	for at := range list.Len() {
		one := list.Get(at).Message()
		field := func(name protoreflect.Name) any { return one.Get(one.Descriptor().Fields().ByName(name)).Interface() }
		// As a double, which is what the other clients write.
		predictions = append(predictions, [3]any{field("class_index"), field("label"), float64(field("score").(float32))})
	}
	return predictions, nil
}
