package payload

import (
	"context"
	"errors"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Encrypt makes a client, and every worker on it, seal whatever it sends and open whatever it gets.
func Encrypt(o *client.Options, codec converter.PayloadCodec) error {
	seal, err := lastSeal(codec)
	if err != nil {
		return err
	}
	o.DataConverter = DataConverter(codec)
	o.FailureConverter = FailureConverter(codec)
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(seal))
	return nil
}

// DataConverter is Temporal's own with the codec behind it.
func DataConverter(codec converter.PayloadCodec) converter.DataConverter {
	return dataConverter{DataConverter: converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec)}
}

// FailureConverter seals messages and stack traces of failures, too.
func FailureConverter(codec converter.PayloadCodec) converter.FailureConverter {
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter: DataConverter(codec), EncodeCommonAttributes: true})
}

// lastSeal seals, on the way out, what was not sealed before. The SDK falls back to clear text for a memo when a codec fails
// (sdk v1.50, encodeMemoValue); here the call fails instead. What comes in is left to the converters.
func lastSeal(codec converter.PayloadCodec) (grpc.UnaryClientInterceptor, error) {
	return proxy.NewPayloadVisitorInterceptor(proxy.PayloadVisitorInterceptorOptions{Outbound: &proxy.VisitPayloadsOptions{
		SkipSearchAttributes: true, // the server reads them
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, p := range payloads {
				if isSealed(p) {
					continue
				}
				sealed, err := codec.Encode(payloads)
				if err != nil { // of a kind that the SDK does not try again for ten seconds
					return nil, status.Error(codes.InvalidArgument, err.Error())
				}
				return sealed, nil
			}
			return payloads, nil
		},
	}})
}

// dataConverter stops workflow code where a key is missing.
type dataConverter struct {
	converter.DataConverter
	inWorkflow bool
}

// WithWorkflowContext is called by the SDK for workflow code. An error there may fail the workflow for good, a panic fails the attempt
// only: the workflow goes on when the worker, or another one, has the key.
func (c dataConverter) WithWorkflowContext(converter.WorkflowContext) converter.DataConverter {
	c.inWorkflow = true
	return c
}

// WithContext is called by the SDK for activities.
func (c dataConverter) WithContext(context.Context) converter.DataConverter { return c }

func (c dataConverter) FromPayload(p *commonpb.Payload, value any) error {
	return c.orStop(c.DataConverter.FromPayload(p, value))
}

func (c dataConverter) FromPayloads(p *commonpb.Payloads, values ...any) error {
	return c.orStop(c.DataConverter.FromPayloads(p, values...))
}

func (c dataConverter) orStop(err error) error {
	if c.inWorkflow && errors.Is(err, ErrNoKey) {
		panic(err)
	}
	return err
}
